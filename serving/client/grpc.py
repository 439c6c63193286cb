"""How the client reaches a server over gRPC, with grpcio and protobuf alone."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from serving.client.transport import (
    REQUEST_ID,
    ClientError,
    RetryableError,
    Target,
    Tls,
    needed_outputs,
    no_encryption,
    no_server,
    refused,
    signature_inputs,
    ssl_context,
    system_authorities,
    too_slow,
)
from serving.protos import message_classes

# As `message_classes` wants them. A map is a list of entries, as it is on the wire, an enum an
# int32, and google.protobuf.Any and Int64Value are spelled out.
_CLASSES = message_classes(
    "serving.client",
    {
        "Int64Value": [("value", "int64", 1)],
        "ModelSpec": [
            ("name", "string", 1),
            ("version", "Int64Value", 2),
            ("signature_name", "string", 3),
            ("version_label", "string", 4),
        ],
        "Dim": [("size", "int64", 1)],
        "TensorShape": [("dim", "Dim*", 2)],
        "Tensor": [
            ("dtype", "int32", 1),
            ("tensor_shape", "TensorShape", 2),
            ("tensor_content", "bytes", 4),
            ("float_val", "float*", 5),
            ("string_val", "bytes*", 8),
        ],
        "TensorEntry": [("key", "string", 1), ("value", "Tensor", 2)],
        "PredictRequest": [("model_spec", "ModelSpec", 1), ("inputs", "TensorEntry*", 2)],
        "PredictResponse": [("outputs", "TensorEntry*", 1), ("model_spec", "ModelSpec", 2)],
        "GetModelMetadataRequest": [("model_spec", "ModelSpec", 1), ("metadata_field", "string*", 2)],
        "Any": [("type_url", "string", 1), ("value", "bytes", 2)],
        "AnyEntry": [("key", "string", 1), ("value", "Any", 2)],
        "GetModelMetadataResponse": [("model_spec", "ModelSpec", 1), ("metadata", "AnyEntry*", 2)],
        "InputEntry": [("key", "string", 1)],
        "Signature": [("inputs", "InputEntry*", 1)],
        "SignatureEntry": [("key", "string", 1), ("value", "Signature", 2)],
        "SignatureDefMap": [("signature_def", "SignatureEntry*", 1)],
    },
)

_SERVICE = "/tensorflow.serving.PredictionService/"
_DT_STRING = 7  # of tensorflow.DataType
# gRPC waits a second or more before it dials again, which is longer than most of our waits between tries.
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", -1),
]
_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class GrpcTransport:
    """Over gRPC; one connection for all threads."""

    def __init__(self, target: Target) -> None:
        """Connects when first used.

        Raises:
            ClientError: TLS files that cannot be used.
        """
        self._target = target
        self._channel = (
            grpc.secure_channel(target.address, _credentials(target.tls), options=_OPTIONS)
            if target.tls
            else grpc.insecure_channel(target.address, options=_OPTIONS)
        )
        self._predict = self._method("Predict")
        self._metadata = self._method("GetModelMetadata")

    def text_columns(self, *, timeout_seconds: float) -> list[str]:
        """See `Transport`."""
        request = _CLASSES["GetModelMetadataRequest"](metadata_field=["signature_def"])
        self._fill(request.model_spec, signature_name="")
        response = self._call(self._metadata, request, timeout_seconds=timeout_seconds)
        content = {entry.key: entry.value.value for entry in response.metadata}.get("signature_def", b"")
        signatures = _CLASSES["SignatureDefMap"].FromString(content).signature_def
        inputs = {entry.key: [each.key for each in entry.value.inputs] for entry in signatures}
        return signature_inputs(inputs, self._target)

    def predict(
        self, columns: Mapping[str, Sequence[str]], *, request_id: str = "", timeout_seconds: float
    ) -> dict[str, Any]:
        """See `Transport`."""
        request = _CLASSES["PredictRequest"]()
        self._fill(request.model_spec, signature_name=self._target.signature_name)
        for column, texts in columns.items():
            tensor = request.inputs.add(key=column).value
            tensor.dtype = _DT_STRING
            tensor.tensor_shape.dim.add(size=len(texts))
            tensor.string_val.extend(text.encode("utf-8", "surrogatepass") for text in texts)
        metadata = ((REQUEST_ID, request_id),) if request_id else ()
        response = self._call(self._predict, request, timeout_seconds=timeout_seconds, metadata=metadata)
        outputs = needed_outputs({entry.key: entry.value for entry in response.outputs}, self._target)
        num_rows = len(outputs["label"].string_val)
        return {
            "label": _strings(outputs["label"]),
            "labels": _rows(_strings(outputs["labels"]), num_rows),
            "probabilities": _rows(_floats(outputs["probabilities"]), num_rows),
            "version": response.model_spec.version.value,
        }

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()

    def _method(self, name: str) -> Any:
        return self._channel.unary_unary(
            _SERVICE + name,
            request_serializer=_CLASSES[f"{name}Request"].SerializeToString,
            response_deserializer=_CLASSES[f"{name}Response"].FromString,
        )

    def _fill(self, spec: Any, *, signature_name: str) -> None:
        spec.name, spec.signature_name = self._target.model, signature_name
        if self._target.version is not None:
            spec.version.value = self._target.version
        elif self._target.version_label:
            spec.version_label = self._target.version_label

    def _call(
        self, method: Any, request: Any, *, timeout_seconds: float, metadata: tuple[tuple[str, str], ...] = ()
    ) -> Any:
        try:
            return method(request, timeout=timeout_seconds, metadata=metadata)
        except grpc.RpcError as error:
            raise self._said(error.code(), error.details() or "") from error

    def _said(self, code: grpc.StatusCode, details: str) -> ClientError:
        """What a status means for the caller."""
        address = self._target.address
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return too_slow(address)
        if code == grpc.StatusCode.UNAVAILABLE and "SSL_ERROR_SSL" in details:
            return no_encryption(address, details)
        if code == grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
            return no_server(address, details)
        message = refused(address, code.name, details, not_found=code == grpc.StatusCode.NOT_FOUND)
        return RetryableError(message) if code in _RETRYABLE else ClientError(message)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    context = ssl_context(tls)  # checks the files: gRPC does not until it connects, and says less

    def read(path: str) -> bytes | None:
        if not path:
            return None
        with open(path, "rb") as file:
            return file.read()

    # gRPC itself would take the authorities that it was built with.
    authorities = read(tls.ca_file) or system_authorities(context)
    key = read(tls.key_file or tls.certificate_file)
    return grpc.ssl_channel_credentials(authorities, key, read(tls.certificate_file))


def _strings(tensor: Any) -> list[str]:
    return [value.decode("utf-8", "replace") for value in tensor.string_val]


def _floats(tensor: Any) -> list[float]:
    """The values of a float32 tensor, which has two ways of writing them."""
    content = tensor.tensor_content
    return list(struct.unpack(f"<{len(content) // 4}f", content)) if content else list(tensor.float_val)


def _rows(values: list[Any], num_rows: int) -> list[list[Any]]:
    """The flat values of a tensor as rows of equal width.

    Example:
        _rows([1, 2, 3, 4, 5, 6], 2) is [[1, 2, 3], [4, 5, 6]]
    """
    width = len(values) // max(1, num_rows)
    return [values[i * width : (i + 1) * width] for i in range(num_rows)]
