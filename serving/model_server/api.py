"""What both protocols ask of a set of models: inference, metadata, status, another set; and the id of a request.

The id, `x-request-id`, is its client's, or one made here; it is in the answer and in the request log. A client that
sends several rows may name each of them: as many ids as rows, with commas between.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.model_server import errors
from serving.model_server.models import inference, tensors
from serving.model_server.models.manager import Manager
from serving.model_server.models.servable import Servable, SignatureCall, order_arrays, read_inputs
from serving.model_server.models.versions import VersionStatus

# Header of REST, key of gRPC's metadata.
REQUEST_ID = "x-request-id"

# Printable and without spaces: it goes into headers, files and CSV.
_USABLE_ID = re.compile(r"[!-~]{1,7000}")  # a header of REST has 8,190 characters at most
_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def begin_request(given: str | None) -> str:
    """Notes the id of the request that this task begins to answer.

    Args:
        given: what the client calls it; where it is empty, too long or not printable, a new id is made.

    Returns:
        The id, for the answer.
    """
    request_id = given if given and _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
    _request_id.set(request_id)
    return request_id


def ids_of_rows(request_id: str, *, num_rows: int) -> list[str]:
    """The ids of a request's rows: its own, its parts where it names each row, or ID/0, ID/1, ...

    >>> ids_of_rows("a,b", num_rows=2), ids_of_rows("a", num_rows=2), ids_of_rows("a,b", num_rows=1)
    (['a', 'b'], ['a/0', 'a/1'], ['a,b'])
    """
    if num_rows == 1:
        return [request_id]
    named = request_id.split(",")
    return named if len(named) == num_rows else [f"{request_id}/{row}" for row in range(num_rows)]


def current_request_id() -> str:
    """The id of the request that this task answers; empty where no front has begun one."""
    return _request_id.get()


class RequestLog(Protocol):
    """Where answered requests may be kept."""

    def offer(self, model_name: str, make_log: Callable[[], prediction_log_pb2.PredictionLog]) -> None:
        """Keeps the request, or does not; never blocks."""


# TF Serving writes the canonical code UNKNOWN where a load failed without one.
_OK, _UNKNOWN = 0, 2


class Models:
    """The models of one server."""

    def __init__(
        self,
        manager: Manager,
        *,
        request_log: RequestLog | None = None,
        check_reload: Callable[[ModelServerConfig], None] = lambda config: None,
    ) -> None:
        """Answers from what `manager` holds.

        Args:
            manager: the models.
            request_log: is offered every inference that succeeded.
            check_reload: refuses a configuration of a client with ServingError.
        """
        self._check_reload = check_reload
        self._manager = manager
        self._request_log = request_log

    def use(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        """Holds the version that a request names; the context may last over an await.

        Raises:
            ServingError: no name, an unknown label, or not loaded.
        """
        if not spec.name:
            raise errors.invalid_argument("ModelSpec has no name specified.")
        return self._manager.use(spec)

    async def predict(
        self, request: predict_pb2.PredictRequest, *, deadline: float | None = None
    ) -> predict_pb2.PredictResponse:
        """Runs one request.

        Args:
            request: as a client sends it.
            deadline: second of `time.monotonic` at which to give up; None is never.

        Raises:
            ServingError: whatever is wrong with it.
        """
        _need_spec(request)
        with self.use(request.model_spec) as servable:
            call = servable.call(request.model_spec.signature_name, tuple(request.output_filter))
            arrays = read_inputs(request.inputs, signature=call.signature)
            outputs = await servable.run(call, arrays, deadline=deadline)
            spec = servable.spec(call.signature_name)
        response = predict_pb2.PredictResponse(model_spec=spec)
        tensors.write_all(outputs, protos=response.outputs)
        self._log(spec, "predict_log", request, response)
        return response

    async def predict_arrays(
        self,
        servable: Servable,
        *,
        signature_name: str,
        arrays: Mapping[str, np.ndarray],
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a request that never was a proto.

        Args:
            servable: from `use`, held until this returns.
            signature_name: "" is the default one.
            arrays: array by alias; strings as objects (bytes).
            deadline: as for `predict`.

        Returns:
            Array by alias of output.

        Raises:
            ServingError: whatever is wrong with it.
        """
        call = servable.call(signature_name)
        ordered = order_arrays(arrays, signature=call.signature)
        outputs = await servable.run(call, ordered, deadline=deadline)
        if self._request_log:
            self._request_log.offer(servable.name, lambda: _predict_log(servable, call, arrays, outputs))
        return outputs

    async def classify(
        self, request: classification_pb2.ClassificationRequest, *, deadline: float | None = None
    ) -> classification_pb2.ClassificationResponse:
        """Labels and scores of tf.Examples; for the rest as `predict`."""
        spec, outputs, rows = await self._infer(request, inference.classify_call, deadline=deadline)
        result = inference.classification_result(outputs, num_examples=rows)
        response = classification_pb2.ClassificationResponse(model_spec=spec, result=result)
        self._log(spec, "classify_log", request, response)
        return response

    async def regress(
        self, request: regression_pb2.RegressionRequest, *, deadline: float | None = None
    ) -> regression_pb2.RegressionResponse:
        """Values of tf.Examples; for the rest as `predict`."""
        spec, outputs, rows = await self._infer(request, inference.regress_call, deadline=deadline)
        result = inference.regression_result(outputs, num_examples=rows)
        response = regression_pb2.RegressionResponse(model_spec=spec, result=result)
        self._log(spec, "regress_log", request, response)
        return response

    async def _infer(
        self, request: Any, find_call: Callable[[Servable, str], SignatureCall], *, deadline: float | None
    ) -> tuple[model_pb2.ModelSpec, dict[str, np.ndarray], int]:
        """The resolved spec, the outputs, and the number of examples."""
        _need_spec(request)
        with self.use(request.model_spec) as servable:
            call = find_call(servable, request.model_spec.signature_name)
            array = inference.serialized(request.input)
            outputs = await servable.run(call, [array], deadline=deadline)
            return servable.spec(call.signature_name), outputs, len(array)

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, *, deadline: float | None = None
    ) -> inference_pb2.MultiInferenceResponse:
        """Several signatures of one version on the same tf.Examples; for the rest as `predict`."""
        first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        response = inference_pb2.MultiInferenceResponse()
        with self.use(first) as servable:
            calls = inference.multi_calls(servable, request)
            array = inference.serialized(request.input)
            for task, call in zip(request.tasks, calls, strict=True):
                outputs = await servable.run(call, [array], deadline=deadline)
                spec = servable.spec(call.signature_name)
                result = inference.multi_result(task, spec=spec, outputs=outputs, num_examples=len(array))
                response.results.append(result)
        self._log(first, "multi_inference_log", request, response)
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version.

        Raises:
            ServingError: no such version, or a field other than `signature_def` is asked for.
        """
        _need_spec(request)
        if not request.metadata_field:
            raise errors.invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise errors.invalid_argument(f"Metadata field {field} is not supported")
        with self.use(request.model_spec) as servable:
            found = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
            spec = servable.spec("")
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
        response.metadata["signature_def"].Pack(found)
        return response

    def statuses(self, spec: model_pb2.ModelSpec) -> Mapping[int, VersionStatus]:
        """The states of the versions that a request names, the highest first; a label is ignored.

        Raises:
            ServingError: NOT_FOUND; there is none.
        """
        if not spec.name:
            raise errors.invalid_argument("ModelSpec has no name specified.")
        return self._manager.statuses(spec)

    def status_response(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """`statuses` as a proto."""
        _need_spec(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in self.statuses(request.model_spec).items():
            entry = response.model_version_status.add(version=version, state=status.state)
            entry.status.error_code = _UNKNOWN if status.error else _OK
            entry.status.error_message = status.error
        return response

    async def reload(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the set of models, wholly or not at all; answers when the new set is available.

        Raises:
            ServingError: the configuration is refused.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise errors.invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self._check_reload(request.config)
        await asyncio.to_thread(self._manager.reload, request.config)
        return model_management_pb2.ReloadConfigResponse(status={})

    def _log(self, spec: model_pb2.ModelSpec, kind: str, request: Any, response: Any) -> None:
        if self._request_log:
            self._request_log.offer(
                spec.name,
                lambda: prediction_log_pb2.PredictionLog(
                    **{kind: {"request": request, "response": response}}
                ),
            )


def _need_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise errors.invalid_argument("Missing ModelSpec")


def _predict_log(
    servable: Servable,
    call: SignatureCall,
    arrays: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictLog()
    for protos, given in ((log.request.inputs, arrays), (log.response.outputs, outputs)):
        for alias, array in given.items():
            protos[alias].CopyFrom(tf.make_tensor_proto(array))
    log.request.model_spec.CopyFrom(servable.spec(call.signature_name))
    log.response.model_spec.CopyFrom(log.request.model_spec)
    return prediction_log_pb2.PredictionLog(predict_log=log)
