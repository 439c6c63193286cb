"""The id of a request, `x-request-id`: its client's, or one made here; told in the answer, kept in the request log.

A client that sends several rows may name each of them: as many ids as rows, with commas between.
"""

from __future__ import annotations

import contextvars
import re
import uuid

# Header of REST, key of gRPC's metadata.
HEADER = "x-request-id"

# Printable and without spaces: it goes into headers, files and CSV.
_USABLE = re.compile(r"[!-~]{1,7000}")  # a header of REST has 8,190 characters at most
_current: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def begin(given: str | None) -> str:
    """Notes the id of the request that this task begins to answer.

    Args:
        given: what the client calls it; where it is empty, too long or not printable, a new id is made.

    Returns:
        The id, for the answer.
    """
    request_id = given if given and _USABLE.fullmatch(given) else uuid.uuid4().hex
    _current.set(request_id)
    return request_id


def of_rows(request_id: str, *, num_rows: int) -> list[str]:
    """The ids of a request's rows: its own, its parts where it names each row, or ID/0, ID/1, ...

    >>> of_rows("a,b", num_rows=2), of_rows("a", num_rows=2), of_rows("a,b", num_rows=1)
    (['a', 'b'], ['a/0', 'a/1'], ['a,b'])
    """
    if num_rows == 1:
        return [request_id]
    named = request_id.split(",")
    return named if len(named) == num_rows else [f"{request_id}/{row}" for row in range(num_rows)]


def current() -> str:
    """The id of the request that this task answers; empty where no front has begun one."""
    return _current.get()
