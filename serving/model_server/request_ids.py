"""The id of a request, `x-request-id`: its client's, or one made here; told in the answer, kept in the request log."""

from __future__ import annotations

import contextvars
import re
import uuid

# Header of REST, key of gRPC's metadata.
HEADER = "x-request-id"

# Printable and without spaces: it goes into headers, files and CSV.
_USABLE = re.compile(r"[!-~]{1,128}")
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


def current() -> str:
    """The id of the request that this task answers; empty where no front has begun one."""
    return _current.get()
