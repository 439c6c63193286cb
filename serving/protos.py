"""Classes of messages by tables of their fields, for protos that no package here has or that need TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "int64": _FIELD.TYPE_INT64,
    "int32": _FIELD.TYPE_INT32,
    "float": _FIELD.TYPE_FLOAT,
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}


def message_classes(package: str, tables: Mapping[str, Sequence[tuple[str, str, int]]]) -> dict[str, Any]:
    """The classes of some messages, in a pool of their own: the process may have TensorFlow's definitions as well.

    Args:
        package: of the messages.
        tables: by the name of a message, name, type and number of each field; "*" marks a list, and a type may be
            another of these messages.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in tables.items():
        message = file.message_type.add(name=name)
        for field_name, kind, number in fields:
            label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if kind.rstrip("*") in _TYPES:
                field.type = _TYPES[kind.rstrip("*")]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{package}.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: _class_of(pool.FindMessageTypeByName(f"{package}.{name}"), pool) for name in tables}


def _class_of(descriptor: Any, pool: descriptor_pool.DescriptorPool) -> Any:
    if hasattr(message_factory, "GetMessageClass"):  # since protobuf 4.22; the other went with protobuf 5
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)
