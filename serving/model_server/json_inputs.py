"""JSON of predict requests, as TF Serving reads it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import errors, json_numbers

# NumPy's bound; TensorFlow's own is 254, and no model uses half as many.
_MAX_RANK = 32

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]


def parse_object(body: bytes) -> dict[str, Any]:
    """Reads a request's body.

    Raises:
        ServingError: INVALID_ARGUMENT; it is no JSON object.
    """
    if not body:
        raise errors.invalid_argument("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        raise errors.invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise errors.invalid_argument(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # an integer of thousands of digits; brackets by the thousand
        raise errors.invalid_argument(
            "JSON Parse error: a value is too long or too deep at offset: 0"
        ) from error
    if not isinstance(document, dict):
        raise errors.invalid_argument(f"JSON Value: {_text(document)} Is not object")
    return document


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request names; "" where it names none.

    Raises:
        ServingError: INVALID_ARGUMENT; it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise errors.invalid_argument(
            f"JSON Value: {_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_inputs(document: dict[str, Any], *, inputs: Inputs) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the tensors of a predict request.

    Args:
        document: the request; `{"instances": [1.0, 2.0]}` (rows) or `{"inputs": {"x": [1.0, 2.0]}}` (columns).
        inputs: of the signature, by alias.

    Returns:
        Array by alias, and whether the request was in row form.

    Raises:
        ServingError: INVALID_ARGUMENT; says which value does not fit and why.
    """
    if "instances" not in document and "inputs" not in document:
        raise errors.invalid_argument("Missing 'inputs' or 'instances' key")
    if "instances" not in document:
        return _read_columns(document["inputs"], inputs=inputs), False
    rows = document["instances"]
    problem = ""
    if "inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(rows, list):
        problem = "Excepting 'instances' to be an list/array"
    elif not rows:
        problem = "No values in 'instances' array"
    if problem:
        raise errors.invalid_argument(f"JSON Value: {_text(document)} {problem}")
    return _read_rows(rows, inputs=inputs), True


def _read_columns(value: Any, *, inputs: Inputs) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or _is_b64(value):
        if len(inputs) > 1:
            raise errors.invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        (alias,) = inputs
        return {alias: _to_array(value, inputs[alias].dtype)}
    for alias in sorted(inputs):
        if alias not in value:
            raise errors.invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: _to_array(value[alias], info.dtype) for alias, info in inputs.items()}


def _read_rows(rows: list[Any], *, inputs: Inputs) -> dict[str, np.ndarray]:
    named = _is_named(rows[0])
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise errors.invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    columns: dict[str, list[np.ndarray]] = {alias: [] for alias in inputs}
    for item, row in enumerate(rows):
        if named != _is_named(row):
            words = ("Expecting object but got list", "Expecting value/list but got object")
            raise errors.invalid_argument(f"{words[0] if named else words[1]} at item {item} of input list")
        if named:
            _add_named(row, item=item, inputs=inputs, columns=columns)
        else:
            (alias,) = inputs
            _add(row, alias=alias, where=f"element: {item}", dtype=inputs[alias].dtype, columns=columns)
    return {alias: np.stack(arrays) for alias, arrays in columns.items()}


def _add_named(row: Any, *, item: int, inputs: Inputs, columns: dict[str, list[np.ndarray]]) -> None:
    for alias, value in row.items():
        where = f"element: {item} key: {alias}"
        if alias not in inputs:
            raise _bad_element(where, f"JSON object: does not have named input: {alias}")
        _add(value, alias=alias, where=where, dtype=inputs[alias].dtype, columns=columns)
    if set(row) != set(inputs):
        raise errors.invalid_argument(
            f"Failed to process element: {item} of 'instances' list. JSON object: {_text(row)} "
            f"keys must be equal to: {','.join(sorted(inputs))}"
        )


def _add(value: Any, *, alias: str, where: str, dtype: int, columns: dict[str, list[np.ndarray]]) -> None:
    try:
        array = _to_array(value, dtype)
    except errors.ServingError as error:
        raise _bad_element(where, error.message) from error
    first = columns[alias][0] if columns[alias] else array
    if first.size != array.size:
        raise _bad_element(where, f"Expecting tensor size: {first.size} but got: {array.size}")
    if first.shape != array.shape:
        raise _bad_element(where, f"Expecting shape {_shape(first)} but got: {_shape(array)}")
    columns[alias].append(array)


def _bad_element(where: str, message: str) -> errors.ServingError:
    return errors.invalid_argument(
        f"Failed to process {where} of 'instances' list. Error: INVALID_ARGUMENT: {message}"
    )


def _to_array(value: Any, dtype: int) -> np.ndarray:
    """A dense array; its shape is read off the first elements, and the others must agree."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _MAX_RANK:
        raise errors.invalid_argument(
            f"Lists are nested {len(shape)} deep; at most {_MAX_RANK} dimensions are read"
        )
    values: list[Any] = []
    _collect(value, level=0, shape=shape, dtype=dtype, values=values)
    return np.array(values, dtype=tf.dtypes.as_dtype(dtype).as_numpy_dtype).reshape(shape)


def _collect(value: Any, *, level: int, shape: list[int], dtype: int, values: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise errors.invalid_argument(
                f"JSON Value: {_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        values.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise errors.invalid_argument(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise errors.invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _collect(element, level=level + 1, shape=shape, dtype=dtype, values=values)


def _scalar(value: Any, dtype: int) -> Any:
    if dtype != tf.string.as_datatype_enum:
        return json_numbers.read(value, dtype=dtype, shown=_text(value))
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, dict):
        raise json_numbers.type_error(value, dtype=dtype, shown=_text(value))
    if not _is_b64(value):
        raise errors.invalid_argument(f"JSON Value: {_text(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise errors.invalid_argument("Unable to base64 decode") from error


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_b64(value)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _text(value: Any) -> str:
    """A value for a message; errors cut what is long."""
    return json.dumps(value, ensure_ascii=False)
