"""What a method and a path of the REST API ask for."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote

from tensorflow_serving.apis import model_pb2

from serving.model_server.errors import invalid_argument

_MAX_INT64 = 2**63 - 1

_VERSION = r"(?:/versions/([0-9]+)|/labels/([^/:]+))?"
# The path may be in any case; a verb and the word `metadata` may not, though they match.
_PATTERNS = {
    "POST": re.compile(
        rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE | re.ASCII
    ),
    "GET": re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE | re.ASCII),
}
_VERBS = ("classify", "regress", "predict")


@dataclasses.dataclass(frozen=True)
class Route:
    """A request that is understood."""

    action: str
    """`predict`, `classify`, `regress`, `metadata` or `status`."""

    spec: model_pb2.ModelSpec
    """Which model; without a signature, which the body names."""


def find_route(method: str, path: str) -> Route | None:
    """Reads a path under /v1.

    >>> find_route("GET", "/v1/models/toy/versions/7").action
    'status'

    Args:
        method: GET, POST, ...
        path: as the client sent it, percent signs and all.

    Returns:
        None for a version beyond int64, which TF Serving answers with 400 and no body.

    Raises:
        ServingError: INVALID_ARGUMENT; there is no such route, or it names no model.
    """
    # With its query, which no route has: TF Serving refuses one, too.
    match = _PATTERNS[method].fullmatch(path) if method in _PATTERNS else None
    if match is None or (method == "POST" and match[4] not in _VERBS):
        raise invalid_argument(f"Malformed request: {method} {path}")
    name, version, label, word = match.groups()
    if int(version or 0) > _MAX_INT64:
        return None
    if name is None:
        raise invalid_argument("Missing model name in request.")
    spec = model_pb2.ModelSpec(name=unquote(name))
    if version:
        spec.version.value = int(version)
    if label:
        spec.version_label = unquote(label)
    if method == "POST":
        return Route(word, spec)
    return Route("metadata" if word == "metadata" else "status", spec)
