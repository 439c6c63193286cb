"""The messages of TensorFlow Serving's gRPC API that the client speaks, without the package that imports TensorFlow.

Importing tensorflow_serving.apis runs `import tensorflow`: two seconds and half a gigabyte, for a dozen fields.
These have the numbers and types of predict.proto, model.proto, get_model_metadata.proto, tensor.proto and
meta_graph.proto, and so the same bytes; what they leave out is skipped when a message is read.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "int64": _FIELD.TYPE_INT64,
    "int32": _FIELD.TYPE_INT32,
    "float": _FIELD.TYPE_FLOAT,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
_PACKAGE = "serving.client"
# Name, type and number of each field; "*" marks a list. A map is a list of entries, as it is on the wire, an enum an
# int32, and google.protobuf.Any and Int64Value are spelled out.
_MESSAGES = {
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
}


@functools.cache
def message_class(name: str) -> Any:
    """The class of one of the messages above."""
    descriptor = _pool().FindMessageTypeByName(f"{_PACKAGE}.{name}")
    if hasattr(
        message_factory, "GetMessageClass"
    ):  # since protobuf 4.22; the one before went with protobuf 5
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_pool()).GetPrototype(descriptor)


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of its own: the process may have loaded TensorFlow's definitions as well."""
    file = descriptor_pb2.FileDescriptorProto(name="client.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, kind, number in fields:
            label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if kind.rstrip("*") in _TYPES:
                field.type = _TYPES[kind.rstrip("*")]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool
