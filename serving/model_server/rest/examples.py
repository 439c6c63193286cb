"""JSON of Classify and Regress requests to tf.Examples, as TF Serving reads it."""

from __future__ import annotations

from typing import Any

from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import input_pb2

from serving.model_server import errors
from serving.model_server.rest import inputs, messages, parse

_LISTS = {"int64": "int64_list", "float": "float_list", "bytes": "bytes_list"}


def read_input(document: dict[str, Any]) -> input_pb2.Input:
    """Reads `{"context": {feature: value}, "examples": [{feature: value or list}, ...]}`; the context may be left out.

    Raises:
        ServingError: INVALID_ARGUMENT; names the feature and what is wrong.
    """
    request_input = input_pb2.Input()
    target = request_input.example_list
    if "context" in document:
        target = request_input.example_list_with_context
        _fill_example(target.context, document["context"])
    for value in _checked_examples(document):
        _fill_example(target.examples.add(), value)
    return request_input


def _checked_examples(document: dict[str, Any]) -> list[Any]:
    problem = ""
    if "examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(document["examples"], list):
        problem = "Expecting 'examples' value to be an list/array"
    elif not document["examples"]:
        problem = "'examples' value is an empty array"
    if problem:
        raise errors.invalid_argument(f"JSON Value: {messages.shown(document)} {problem}")
    return list(document["examples"])


def _fill_example(example: example_pb2.Example, value: Any) -> None:
    if not isinstance(value, dict):
        raise errors.invalid_argument(f"Example must be JSON object but got JSON {messages.type_name(value)}")
    for name, content in value.items():
        if not parse.is_utf8(name):  # which no proto can hold
            raise errors.invalid_argument(f"Feature: {name} is not UTF-8")
        _fill_feature(
            example.features.feature[name], content if isinstance(content, list) else [content], name=name
        )


def _fill_feature(feature: feature_pb2.Feature, values: list[Any], *, name: str) -> None:
    """Integers and truth values make int64, other numbers float, strings and base64 bytes; all of one kind."""
    kinds_and_values = [_kind_and_value(value, name=name) for value in values]
    if not kinds_and_values:
        return
    expected = kinds_and_values[0][0]
    if any(kind != expected for kind, _ in kinds_and_values):
        raise errors.invalid_argument(
            f"Unexpected element type in feature: {name} expecting type: {expected}"
        )
    getattr(feature, _LISTS[expected]).value.extend([value for _, value in kinds_and_values])


def _kind_and_value(value: Any, *, name: str) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "int64", int(value)
    if isinstance(value, int) and inputs.is_64_bit(value):
        if value >= 2**63:
            raise errors.invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        return "int64", value
    if isinstance(value, (int, float)):
        return "float", inputs.read_float(value, dtype=inputs.FLOAT32)
    if isinstance(value, str):
        return "bytes", parse.to_bytes(value)
    if inputs.is_base64(value):
        return "bytes", inputs.decode_base64(value)
    raise errors.invalid_argument(
        f"Feature: {name} has element with unexpected JSON type: {messages.type_name(value)}"
    )
