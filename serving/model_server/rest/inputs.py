"""JSON of predict requests, as TF Serving reads it: rows (`instances`) or columns (`inputs`)."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import errors
from serving.model_server.models.tensors import dtype_name
from serving.model_server.rest import messages, parse

FLOAT32, FLOAT64 = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
_BOOL, _STRING = tf.bool.as_datatype_enum, tf.string.as_datatype_enum
_FLOATS: dict[int, Any] = {FLOAT32: np.float32, FLOAT64: np.float64}
# By the type of a tensor, the one whose range a value must be in. TF Serving holds the small ones to that of int32, and
# keeps the lowest bits.
_RANGES = {
    dtype.as_datatype_enum: tf.int32 if dtype in (tf.int8, tf.int16, tf.uint8) else dtype
    for dtype in (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)
}
_SIZE_64 = 2.0**63
# NumPy's bound; TensorFlow's own is 254, and no model uses half as many.
_MAX_RANK = 32
# Values read in one step of C code, between which other threads get their turn.
_BLOCK_VALUES = 2**16

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]


def read(value: Any, *, dtype: int) -> np.ndarray:
    """Reads one tensor.

    >>> read([[1, 2], [3, 4]], dtype=tf.int32.as_datatype_enum)
    array([[1, 2],
           [3, 4]], dtype=int32)

    Args:
        value: a scalar, or lists in lists; the shape is that of the first elements.
        dtype: number of the wanted DataType.

    Returns:
        Dense array; strings as objects (bytes).

    Raises:
        ServingError: INVALID_ARGUMENT; says which value does not fit. UNIMPLEMENTED: JSON has no such type.
    """
    array = read_plain(value, dtype=dtype)
    if array is not None:
        return array
    shape = _shape(value)
    values: list[Any] = []
    _collect(value, level=0, shape=shape, dtype=dtype, values=values)
    return _to_array(values, dtype=dtype).reshape(shape)


def read_plain(value: Any, *, dtype: int) -> np.ndarray | None:
    """Reads a list of which each part is plainly right, fast; None: something is, or seems, wrong."""
    if not isinstance(value, list):
        return None
    shape = _shape(value)
    row_values = math.prod(shape[1:])
    step = max(1, _BLOCK_VALUES // max(row_values, 1))
    blocks = []
    for start in range(0, len(value), step):
        flat = _flatten(value[start : start + step], shape=shape[1:])
        block = None if flat is None else _read_flat(flat, dtype=dtype)
        if block is None:
            return None
        blocks.append(block)
    if not blocks:
        return _to_array([], dtype=dtype).reshape(shape)
    return (np.concatenate(blocks) if len(blocks) > 1 else blocks[0]).reshape(shape)


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def decode_base64(value: dict[str, str]) -> bytes:
    """The bytes of `{"b64": "..."}`; white space is skipped and padding may be left out, as in TF Serving.

    Raises:
        ServingError: INVALID_ARGUMENT; another alphabet than the standard one, or another length.
    """
    text = "".join(value["b64"].split())
    bare = text.rstrip("=")
    padding = "=" * (-len(bare) % 4)
    try:
        if text not in (bare, bare + padding):
            raise ValueError("wrong padding")
        return base64.b64decode(bare + padding, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise errors.invalid_argument("Unable to base64 decode") from error


def _shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    if len(shape) > _MAX_RANK:
        raise errors.invalid_argument(
            f"Lists are nested {len(shape)} deep; at most {_MAX_RANK} dimensions are read"
        )
    return shape


def _flatten(values: list[Any], *, shape: Sequence[int]) -> list[Any] | None:
    """The values of lists in lists of one shape; None where they have another."""
    for size in shape:
        if not (set(map(type, values)) <= {list} and set(map(len, values)) <= {size}):
            return None
        values = list(itertools.chain.from_iterable(values))
    return values


def _read_flat(values: list[Any], *, dtype: int) -> np.ndarray | None:
    if dtype != _STRING:
        return _read_numbers(values, dtype=dtype)
    if not set(map(type, values)) <= {str}:
        return None
    return _to_array(list(map(parse.to_bytes, values)), dtype=dtype)


def _to_array(values: list[Any], *, dtype: int) -> np.ndarray:
    return np.array(values, dtype=tf.dtypes.as_dtype(dtype).as_numpy_dtype)


def _collect(value: Any, *, level: int, shape: list[int], dtype: int, values: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise errors.invalid_argument(
                f"JSON Value: {messages.shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
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


def is_64_bit(value: int) -> bool:
    """Whether an integer is one of int64 or uint64; RapidJSON reads another as a double."""
    return -(2**63) <= value < 2**64


def read_float(value: float, *, dtype: int) -> float:
    """A number as a float; what the type cannot hold is rounded, too large is infinite, a denormal is 0.

    Args:
        value: int or float.
        dtype: FLOAT32 or FLOAT64.

    Raises:
        ServingError: INVALID_ARGUMENT; the number is beyond float64.
    """
    array = _read_floats([value], dtype=dtype)
    if array is None:
        raise errors.invalid_argument("JSON Parse error: Number too big to be stored in double.")
    return float(array[0])


def _read_numbers(values: list[Any], *, dtype: int) -> np.ndarray | None:
    """Numbers or truth values [n] of one type; None where one has another type or is out of range."""
    types = set(map(type, values))
    if dtype in _FLOATS:
        return _read_floats(values, dtype=dtype) if types <= {int, float} else None
    if dtype == _BOOL:
        return np.array(values, dtype=np.bool_) if types <= {bool} else None
    limits = _RANGES.get(dtype)
    if limits is None or not types <= {int}:
        return None
    if values and not (limits.min <= min(values) and max(values) <= limits.max):
        return None
    return np.array(values, dtype=limits.as_numpy_dtype).astype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)


def _read_floats(values: list[Any], *, dtype: int) -> np.ndarray | None:
    """None: an integer is beyond float64."""
    try:
        array = np.array(values, dtype=np.float64)
        for i in np.flatnonzero(np.abs(array) >= _SIZE_64).tolist():
            if type(values[i]) is int and not is_64_bit(values[i]):
                array[i] = parse.read_decimal(str(values[i]))
    except (OverflowError, ValueError):  # ValueError: more digits than Python writes
        return None
    kind = _FLOATS[dtype]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        array = array.astype(kind, copy=False)
        # TensorFlow's threads flush denormal numbers, and so TF Serving answers 0.0.
        array[np.abs(array) < np.finfo(kind).tiny] *= 0  # the sign stays
    return array


def _scalar(value: Any, dtype: int) -> Any:
    """One value of a tensor; the error says what it is instead."""
    if dtype == _STRING:
        if isinstance(value, str):
            return parse.to_bytes(value)
        if is_base64(value):
            return decode_base64(value)
        if isinstance(value, dict):
            shown = messages.shown(value)
            raise errors.invalid_argument(f"JSON Value: {shown} not formatted correctly for base64 data")
    elif dtype in _FLOATS and type(value) in (int, float):
        return read_float(value, dtype=dtype)
    elif dtype in _RANGES or dtype in (*_FLOATS, _BOOL):
        array = _read_numbers([value], dtype=dtype)
        if array is not None:
            return array[0]
    else:
        raise errors.unimplemented(
            f"Conversion of JSON Value: {messages.shown(value)} to type: {dtype_name(dtype)}"
        )
    raise errors.invalid_argument(
        f"JSON Value: {messages.shown(value)} Type: {messages.type_name(value)} "
        f"is not of expected type: {dtype_name(dtype)}"
    )


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request names; "" where it names none.

    Raises:
        ServingError: INVALID_ARGUMENT; it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise errors.invalid_argument(
            f"JSON Value: {messages.shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    if not parse.is_utf8(name):  # which no proto can hold
        raise errors.invalid_argument(f'Serving signature name: "{name}" not found in signature def')
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
    if not inputs:
        name = signature_name(document) or "DEFAULT"
        raise errors.invalid_argument(f"Failed to get input map for signature: {name}")
    if "instances" in document:
        return _read_rows(_checked_rows(document), inputs=inputs), True
    if "inputs" in document:
        return _read_columns(document["inputs"], inputs=inputs), False
    raise errors.invalid_argument("Missing 'inputs' or 'instances' key")


def _checked_rows(document: dict[str, Any]) -> list[Any]:
    rows = document["instances"]
    problem = ""
    if "inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(rows, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not rows:
        problem = "No values in 'instances' array"
    if problem:
        raise errors.invalid_argument(f"JSON Value: {messages.shown(document)} {problem}")
    return list(rows)


def _read_columns(value: Any, *, inputs: Inputs) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise errors.invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        (alias,) = inputs
        return {alias: read(value, dtype=inputs[alias].dtype)}
    for alias in sorted(inputs):
        if alias not in value:
            raise errors.invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: read(value[alias], dtype=info.dtype) for alias, info in inputs.items()}


def _read_rows(rows: list[Any], *, inputs: Inputs) -> dict[str, np.ndarray]:
    """All rows at once where that goes, else one after the other, which finds the row to blame."""
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise errors.invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    arrays = {}
    for alias, info in inputs.items():
        column = _column(rows, alias=alias, inputs=inputs)
        array = None if column is None else read_plain(column, dtype=info.dtype)
        if array is None:
            return _read_each_row(rows, inputs=inputs)
        arrays[alias] = array
    return arrays


def _column(rows: list[Any], *, alias: str, inputs: Inputs) -> list[Any] | None:
    """The values of one input; None where the rows are not alike."""
    if not isinstance(rows[0], dict):
        return rows
    aliases = inputs.keys()
    if not all(isinstance(row, dict) and row.keys() == aliases for row in rows):
        return None
    return [row[alias] for row in rows]


def _read_each_row(rows: list[Any], *, inputs: Inputs) -> dict[str, np.ndarray]:
    named = _is_named(rows[0])
    columns: dict[str, list[np.ndarray]] = {alias: [] for alias in inputs}
    for item, row in enumerate(rows):
        if named != _is_named(row):
            words = ("Expecting object but got list", "Expecting value/list but got object")
            raise errors.invalid_argument(f"{words[0] if named else words[1]} at item {item} of input list")
        if named:
            _add_named(row, item=item, inputs=inputs, columns=columns)
        else:
            alias = next(iter(inputs))
            _add(row, alias=alias, where=f"element: {item}", dtype=inputs[alias].dtype, columns=columns)
    return {alias: np.stack(arrays) for alias, arrays in columns.items()}


def _add_named(row: Any, *, item: int, inputs: Inputs, columns: dict[str, list[np.ndarray]]) -> None:
    for alias, value in row.items():
        where = f"element: {item} key: {alias}"
        if alias not in inputs:
            message = f"JSON object: does not have named input: {alias}"
            raise _bad_element(where, errors.invalid_argument(message))
        _add(value, alias=alias, where=where, dtype=inputs[alias].dtype, columns=columns)
    if set(row) != set(inputs):
        raise errors.invalid_argument(
            f"Failed to process element: {item} of 'instances' list. JSON object: {messages.shown(row)} "
            f"keys must be equal to: {','.join(sorted(inputs))}"
        )


def _add(value: Any, *, alias: str, where: str, dtype: int, columns: dict[str, list[np.ndarray]]) -> None:
    try:
        array = read(value, dtype=dtype)
    except errors.ServingError as error:
        raise _bad_element(where, error) from error
    first = columns[alias][0] if columns[alias] else array
    problem = ""
    if first.size != array.size:
        problem = f"Expecting tensor size: {first.size} but got: {array.size}"
    elif first.shape != array.shape:
        problem = f"Expecting shape {messages.shape(first.shape)} but got: {messages.shape(array.shape)}"
    if problem:
        raise _bad_element(where, errors.invalid_argument(problem))
    columns[alias].append(array)


def _bad_element(where: str, error: errors.ServingError) -> errors.ServingError:
    return errors.invalid_argument(
        f"Failed to process {where} of 'instances' list. Error: {error.code.name}: {error.whole_message}"
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)
