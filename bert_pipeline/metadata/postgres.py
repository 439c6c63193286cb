"""Works around ML Metadata 1.16's PostgreSQL bugs on write and read.

Strings with backslashes break its SQL: libpq quotes them as ` E'...'`, and ML Metadata strips two characters as
quotes. TFX stores JSON within JSON, which is full of backslashes, so no run gets past Transform. This module
percent-encodes them.

Every string is indexed, and an index row holds 2,704 bytes, compressed: the schema of a table with many columns, which
is a parameter of a component, does not fit. This module splits long strings into further custom properties.

Rows arrive unordered, while sqlite and MySQL order them by id. TFX relies on that order for cached outputs, and would
record Transform's examples as its graph. This module sorts the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

_ENCODED = {"\\": "%5C", "%": "%25", "\0": "%00"}
# Bytes of a string in one property. The row of the index also holds its name, of up to 255 characters.
_PIECE = 1600
# Names of the second piece of a long property `x` and of a custom property `x`.
_PIECE_NAME = re.compile(r"~([pc])(\d+)~(.*)", re.DOTALL)
# Response fields that are lists of messages with an id.
_BY_ID = ("artifacts", "executions", "contexts")

_DECODED = {encoded: plain for plain, encoded in _ENCODED.items()}


def encode(text: str) -> str:
    r"""Percent-encodes backslashes and NUL, and percent signs that would be read as such a code.

    Example:
        >>> encode('{"a": "\\"b\\""}, 5%')
        '{"a": "%5C"b%5C""}, 5%25'
    """
    return re.sub(r"[\\%\0]", lambda match: _ENCODED[match[0]], text)


def decode(text: str) -> str:
    """The inverse of `encode`."""
    return re.sub("%(?:5C|25|00)", lambda match: _DECODED[match[0]], text)


def install() -> None:
    """Patches every store of this process to write strings that PostgreSQL accepts and to read rows in order.

    A process has one store. Every call of the Python client goes through one method. TFX opens its stores itself, so a
    subclass does not reach them.
    """
    if getattr(MetadataStore, "_call", None) is not _call:
        MetadataStore._call = _call


_ENTITIES = (metadata_store_pb2.Artifact, metadata_store_pb2.Execution, metadata_store_pb2.Context)
_plain_call = MetadataStore._call


def _call(self: MetadataStore, method_name: str, request: Message, response: Message, *rest: Any) -> Any:
    encoded = type(request)()
    encoded.CopyFrom(request)
    _map_values(encoded, encode)
    for entity in _entities(encoded):
        _cut(entity)
    result = _plain_call(self, method_name, encoded, response, *rest)
    for entity in _entities(response):
        _join(entity)
    _map_values(response, decode)
    if not _asks_for_an_order(request):
        for field, rows in response.ListFields():
            if field.name in _BY_ID:
                rows.sort(key=lambda row: row.id)
    return result


def _asks_for_an_order(request: Message) -> bool:
    return "options" in request.DESCRIPTOR.fields_by_name and request.HasField("options")


def _entities(message: Message) -> Iterator[Any]:
    """The artifacts, executions and contexts in a message, at any depth."""
    if isinstance(message, _ENTITIES):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in value if field.label == field.LABEL_REPEATED else [value]:
                yield from _entities(each)


def _cut(entity: Any) -> None:
    """Keeps the first piece of each long string in place and adds the others as custom properties."""
    for kind, values in (("p", entity.properties), ("c", entity.custom_properties)):
        for name, value in list(values.items()):
            first, *others = pieces(value.string_value) if value.HasField("string_value") else [""]
            if others:
                value.string_value = first
            for number, piece in enumerate(others, start=2):
                entity.custom_properties[f"~{kind}{number}~{name}"].string_value = piece


def _join(entity: Any) -> None:
    """The inverse of `_cut`."""
    found = {name: match for name in entity.custom_properties if (match := _PIECE_NAME.fullmatch(name))}
    for name, match in sorted(found.items(), key=lambda item: int(item[1][2])):
        values = entity.properties if match[1] == "p" else entity.custom_properties
        values[match[3]].string_value += entity.custom_properties[name].string_value
        del entity.custom_properties[name]


def pieces(text: str) -> list[str]:
    """Splits a string into pieces of at most 1,600 bytes of UTF-8; one empty piece for an empty string."""
    if len(text) * 4 <= _PIECE:
        return [text]
    found, start, size = [], 0, 0
    for i, character in enumerate(text):
        width = len(character.encode())
        if size + width > _PIECE:
            found.append(text[start:i])
            start, size = i, 0
        size += width
    return [*found, text[start:]]


def _map_values(message: Message, change: Any) -> None:
    """Changes the string of each ml_metadata.Value in a message, at any depth."""
    if isinstance(message, metadata_store_pb2.Value):
        if message.HasField("string_value"):
            message.string_value = change(message.string_value)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            for each in value.values():
                if isinstance(each, Message):
                    _map_values(each, change)
        elif field.label == field.LABEL_REPEATED:
            for each in value:
                _map_values(each, change)
        else:
            _map_values(value, change)
