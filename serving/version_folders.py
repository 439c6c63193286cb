"""Which folder names are versions of a model: the one rule of the server and of what writes for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"-?[0-9]+")
_DIGITS = 20
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1


def version_numbers(names: Iterable[str]) -> dict[int, str]:
    """Folder name by version; a name is a version where it parses as int64, and is left out otherwise.

    >>> version_numbers(["7", "007", "tmp-8", "9223372036854775808"])
    {7: '7'}

    Args:
        names: of the children of a base path. Of 7 and 007, which are the same version, the shorter one is taken.
    """
    numbers = sorted(filter(_NUMBER.fullmatch, names), key=len, reverse=True)
    short = [name for name in numbers if len(name.lstrip("-0")) < _DIGITS]
    return {int(name): name for name in short if _MIN_INT64 <= int(name) <= _MAX_INT64}
