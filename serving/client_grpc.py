"""How the client reaches a server over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from serving.client_retries import ClientError, RetryableError
from serving.client_transports import Target, Tls, needed_outputs, signature_inputs

# tensorflow.DataType.DT_STRING: the client must not import TensorFlow for one number.
_DT_STRING = 7


class GrpcTransport:
    """Over gRPC; one connection for all threads.

    The stubs of tensorflow-serving-api import the whole of TensorFlow, once in a process: REST starts in a tenth of
    a second, gRPC in several.
    """

    def __init__(self, target: Target) -> None:
        """Connects when first used."""
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._target = target
        credentials = _grpc_credentials(target.tls) if target.tls else None
        self._channel = (
            grpc.secure_channel(target.address, credentials)
            if credentials
            else grpc.insecure_channel(target.address)
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def text_columns(self, *, timeout_seconds: float) -> list[str]:
        """See `Transport`."""
        from tensorflow_serving.apis import get_model_metadata_pb2 as pb2

        request = pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec, signature_name="")
        response = self._call(self._stub.GetModelMetadata, request, timeout_seconds=timeout_seconds)
        signatures = pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return signature_inputs(
            signatures.signature_def, self._target, inputs=lambda signature: signature.inputs
        )

    def predict(self, columns: Mapping[str, Sequence[str]], *, timeout_seconds: float) -> dict[str, Any]:
        """See `Transport`."""
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self._fill(request.model_spec, signature_name=self._target.signature_name)
        for column, texts in columns.items():
            tensor = request.inputs[column]
            tensor.dtype = _DT_STRING
            tensor.tensor_shape.dim.add(size=len(texts))
            tensor.string_val.extend(text.encode("utf-8", "surrogatepass") for text in texts)
        response = self._call(self._stub.Predict, request, timeout_seconds=timeout_seconds)
        outputs = needed_outputs(response.outputs, self._target)
        labels = [value.decode("utf-8", "replace") for value in outputs["label"].string_val]
        names = [value.decode("utf-8", "replace") for value in outputs["labels"].string_val]
        return {
            "label": labels,
            "labels": _rows(names, len(labels)),
            "probabilities": _rows(list(outputs["probabilities"].float_val), len(labels)),
            "version": response.model_spec.version.value,
        }

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()

    def _fill(self, spec: Any, *, signature_name: str) -> None:
        spec.name, spec.signature_name = self._target.model, signature_name
        if self._target.version is not None:
            spec.version.value = self._target.version
        elif self._target.version_label:
            spec.version_label = self._target.version_label

    def _call(self, method: Any, request: Any, *, timeout_seconds: float) -> Any:
        import grpc

        try:
            return method(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            message = f"{self._target.address} answered {error.code().name}: {error.details()}"
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise RetryableError(message) from error
            raise ClientError(message) from error


def _grpc_credentials(tls: Tls) -> Any:
    import grpc

    def read(path: str) -> bytes | None:
        try:
            with open(path, "rb") if path else contextlib.nullcontext() as file:
                return file.read() if file else None
        except OSError as error:
            raise ClientError(f"the TLS files cannot be used: {error}; give PEM files ({tls})") from error

    return grpc.ssl_channel_credentials(read(tls.ca_file), read(tls.key_file), read(tls.certificate_file))


def _rows(values: list[Any], num_rows: int) -> list[list[Any]]:
    """The flat values of a TensorProto as rows of equal width."""
    width = len(values) // num_rows
    return [values[i * width : (i + 1) * width] for i in range(num_rows)]
