"""TF Serving's small configuration files, of which tensorflow-serving-api brings no definition.

The messages are those of TF Serving 2.16: BatchingParameters (session_bundle_config.proto), MonitoringConfig
(monitoring_config.proto) and SSLConfig (ssl_config.proto).
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"int64": _FIELD.TYPE_INT64, "bool": _FIELD.TYPE_BOOL, "string": _FIELD.TYPE_STRING}
_PACKAGE = "tensorflow.serving"
# Name, type and number of each field; "*" marks a list. The value types are google.protobuf's wrappers, by which
# a text file says `max_batch_size { value: 32 }`.
_MESSAGES = {
    "Int64Value": [("value", "int64", 1)],
    "BoolValue": [("value", "bool", 1)],
    "StringValue": [("value", "string", 1)],
    "BatchingParameters": [
        ("max_batch_size", "Int64Value", 1),
        ("batch_timeout_micros", "Int64Value", 2),
        ("max_enqueued_batches", "Int64Value", 3),
        ("num_batch_threads", "Int64Value", 4),
        ("thread_pool_name", "StringValue", 5),
        ("allowed_batch_sizes", "int64*", 6),
        ("pad_variable_length_inputs", "bool", 7),
        ("enable_large_batch_splitting", "BoolValue", 8),
        ("max_execution_batch_size", "Int64Value", 9),
    ],
    "PrometheusConfig": [("enable", "bool", 1), ("path", "string", 2)],
    "MonitoringConfig": [("prometheus_config", "PrometheusConfig", 1)],
    "SSLConfig": [
        ("server_key", "string", 1),
        ("server_cert", "string", 2),
        ("custom_ca", "string", 3),
        ("client_verify", "bool", 4),
    ],
}


class ConfigError(Exception):
    """A configuration file that cannot be used; the message names file, line, key and value."""


def new_message(name: str) -> Any:
    """An empty message of one of the types above."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, kind, number in fields:
            label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if kind.rstrip("*") in _TYPES:
                field.type = _TYPES[kind.rstrip("*")]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    if hasattr(
        message_factory, "GetMessageClass"
    ):  # since protobuf 4.22; the one before went with protobuf 5
        return message_factory.GetMessageClass(descriptor)()
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)()


def read_text(path: str) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read, or is no UTF-8.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8: {error}") from error


def parse(text: str, message: Any, *, path: str) -> Any:
    """Reads protobuf's text format.

    Args:
        text: the file.
        message: what it describes; is filled.
        path: of the file, for errors.

    Returns:
        The message.

    Raises:
        ConfigError: with the line, and with the nearest name where a field is unknown.
    """
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        where = f"{path}:{line}" if line else path
        said = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error))
        shown = text.splitlines()[line - 1].strip() if line and line <= len(text.splitlines()) else ""
        raise ConfigError(f"{where}: {said}{_nearest(said, message)} (in: {shown})") from error


def _nearest(said: str, message: Any) -> str:
    """` Did you mean ...?` for a message like: Message type "a.B" has no field named "c"."""
    match = re.search(r'Message type "([^"]+)" has no field named "([^"]+)"', said)
    if match is None:
        return ""
    descriptor = _find(message.DESCRIPTOR, match[1], seen=set())
    names = [field.name for field in descriptor.fields] if descriptor else []
    near = difflib.get_close_matches(match[2], names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else f" It has: {', '.join(names)}."


def _find(descriptor: Any, full_name: str, *, seen: set[str]) -> Any:
    if descriptor.full_name == full_name:
        return descriptor
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.full_name not in seen:
            found = _find(field.message_type, full_name, seen=seen)
            if found is not None:
                return found
    return None
