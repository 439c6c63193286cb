"""The verb `doctor`: says what is wrong with this machine."""

from __future__ import annotations

import dataclasses
from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    common.add_verb(verbs, "doctor", "say what is wrong with this machine", common.Verb("verbs.doctor"))


@dataclasses.dataclass(frozen=True)
class Request:
    """`doctor` has no options."""


def run(_: Request) -> int:
    """Prints what it finds; returns the exit status."""
    from bert_pipeline.setup import doctor

    return doctor.main()
