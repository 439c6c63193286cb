"""What ML Metadata 1.16 does wrong in PostgreSQL, mended on the way there and back.

Strings with backslashes break its SQL: libpq quotes them as ` E'...'`, and ML Metadata cuts off what it takes for two
quotes. TFX stores JSON within JSON, which is full of backslashes; no run got past Transform. They travel in disguise.

Rows come in no order, where sqlite and MySQL give them by id. TFX relies on that order for the outputs that it finds
in its cache: Transform's examples were recorded as its graph. They are sorted.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import Message
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

_ENCODED = {"\\": "%5C", "%": "%25"}
# Fields of responses, lists of what has an id.
_BY_ID = ("artifacts", "executions", "contexts")

_DECODED = {encoded: plain for plain, encoded in _ENCODED.items()}


def encode(text: str) -> str:
    r"""Percent-encodes backslashes, and what would pass for one that was.

    Example:
        >>> encode('{"a": "\\"b\\""}, 5%')
        '{"a": "%5C"b%5C""}, 5%25'
    """
    return re.sub(r"[\\%]", lambda match: _ENCODED[match[0]], text)


def decode(text: str) -> str:
    """The inverse of `encode`."""
    return re.sub("%(?:5C|25)", lambda match: _DECODED[match[0]], text)


def install() -> None:
    """From now on each store of this process writes strings that PostgreSQL takes, and reads rows in order.

    A process has one store. Every call of the Python client goes through one method; TFX opens its stores itself, so
    that a subclass would not reach them.
    """
    if getattr(MetadataStore, "_call", None) is not _call:
        MetadataStore._call = _call


_plain_call = MetadataStore._call


def _call(self: MetadataStore, method_name: str, request: Message, response: Message, *rest: Any) -> Any:
    encoded = type(request)()
    encoded.CopyFrom(request)
    _map_values(encoded, encode)
    result = _plain_call(self, method_name, encoded, response, *rest)
    _map_values(response, decode)
    if not _asks_for_an_order(request):
        for field, rows in response.ListFields():
            if field.name in _BY_ID:
                rows.sort(key=lambda row: row.id)
    return result


def _asks_for_an_order(request: Message) -> bool:
    return "options" in request.DESCRIPTOR.fields_by_name and request.HasField("options")


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
