"""Routes of the REST API to JSON: what is read, asked of the models, and written."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import re
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar
from urllib.parse import unquote

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from serving.model_server.api import Models
from serving.model_server.errors import invalid_argument
from serving.model_server.models.servable import DEFAULT_SIGNATURE
from serving.model_server.rest import examples as json_examples
from serving.model_server.rest import inputs, outputs, parse

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


Result = TypeVar("Result")

# For what would hold up the event loop. Python runs one of them at a time, and memory for few must do.
_NUM_THREADS = 2
_LARGE_ANSWER_VALUES = 2**14


class RestAnswers:
    """Answers in JSON, from the models; large bodies and answers are read and written outside the event loop."""

    def __init__(self, models: Models) -> None:
        """Answers for `models`."""
        self._models = models
        self._threads = futures.ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="rest")

    def close(self) -> None:
        """Lets the threads go, and what waits for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def status(self, route: Route) -> bytes:
        """The states of a model's versions.

        Raises:
            ServingError: NOT_FOUND; there is none.
        """
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=route.spec)
        return outputs.write_status(self._models.status_response(request))

    def metadata(self, route: Route) -> bytes:
        """The signatures of a version.

        Raises:
            ServingError: it is not loaded.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=route.spec, metadata_field=["signature_def"]
        )
        return outputs.write_metadata(self._models.metadata(request))

    async def infer(self, route: Route, body: bytes, *, deadline: float) -> bytes:
        """Predict, Classify or Regress.

        The body is parsed before the model is looked for, as in TF Serving, which decides what is told of two errors.

        Args:
            route: what is asked for.
            body: JSON, unpacked.
            deadline: second of `time.monotonic` at which to give up.

        Raises:
            ServingError: whatever is wrong with the request.
        """
        is_large = len(body) > parse.LARGE_BODY_BYTES
        # The function that reads a document takes it out of the list: to free a million values takes time, too.
        documents = [await self._maybe_in_thread(is_large, parse.parse_object, body)]
        name = inputs.signature_name(documents[0])
        if route.action == "predict":
            return await self._predict(route, documents, name=name, is_large=is_large, deadline=deadline)
        route.spec.signature_name = name
        examples = await self._maybe_in_thread(is_large, _pop_and_read, documents, json_examples.read_input)
        if route.action == "classify":
            classify = classification_pb2.ClassificationRequest(model_spec=route.spec, input=examples)
            classified = await self._models.classify(classify, deadline=deadline)
            return outputs.write_classifications(classified.result)
        regress = regression_pb2.RegressionRequest(model_spec=route.spec, input=examples)
        regressed = await self._models.regress(regress, deadline=deadline)
        return outputs.write_regressions(regressed.result)

    async def _predict(
        self, route: Route, documents: list[Any], *, name: str, is_large: bool, deadline: float
    ) -> bytes:
        with self._models.use(route.spec) as servable:
            key = name or DEFAULT_SIGNATURE
            if key not in servable.signatures:
                raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
            read = functools.partial(inputs.read_inputs, inputs=servable.signatures[key].inputs)
            arrays, rows = await self._maybe_in_thread(is_large, _pop_and_read, documents, read)
            answer = await self._models.predict_arrays(
                servable, signature_name=name, arrays=arrays, deadline=deadline
            )
        is_large = sum(array.size for array in answer.values()) > _LARGE_ANSWER_VALUES
        return await self._maybe_in_thread(
            is_large, functools.partial(outputs.write_outputs, answer, rows=rows)
        )

    async def _maybe_in_thread(self, is_large: bool, function: Callable[..., Result], *args: Any) -> Result:
        return await self.in_thread(function, *args) if is_large else function(*args)

    async def in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        """Runs a function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def _pop_and_read(documents: list[Any], read: Callable[[Any], Result]) -> Result:
    return read(documents.pop())
