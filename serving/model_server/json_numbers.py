"""Numbers of a JSON request to those of a tensor: strict types; floats and small integers as in TF Serving's C++."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from serving.model_server import errors, json_decimals, json_text
from serving.model_server.tensors import dtype_name

FLOAT32, FLOAT64 = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
BOOL = tf.bool.as_datatype_enum
_FLOATS: dict[int, Any] = {FLOAT32: np.float32, FLOAT64: np.float64}
# Types of tensors to those whose range a value must be in. TF Serving holds the small ones to that of int32, and
# keeps the lowest bits.
_INTEGERS = {
    tf.int8: tf.int32,
    tf.int16: tf.int32,
    tf.uint8: tf.int32,
    **{dtype: dtype for dtype in (tf.int32, tf.int64, tf.uint16, tf.uint32, tf.uint64)},
}
_RANGES = {dtype.as_datatype_enum: limits for dtype, limits in _INTEGERS.items()}
_NUMPY = {dtype.as_datatype_enum: dtype.as_numpy_dtype for dtype in _INTEGERS}
_SIZE_64 = 2.0**63


def read(value: Any, *, dtype: int) -> Any:
    """Converts one JSON value.

    Args:
        value: as `json_parse` gives it.
        dtype: number of the wanted DataType.

    Raises:
        ServingError: INVALID_ARGUMENT, it has another type or does not fit; UNIMPLEMENTED, no JSON value
            has this type (half, complex).
    """
    if dtype in _FLOATS:
        if type(value) not in (int, float):
            raise type_error(value, dtype=dtype)
        return read_float(value, dtype=dtype)
    if dtype == BOOL:
        fits = isinstance(value, bool)
    elif dtype in _RANGES:
        limits = _RANGES[dtype]
        fits = type(value) is int and limits.min <= value <= limits.max
        value = int(np.array(value).astype(_NUMPY[dtype])) if fits else value
    else:
        raise errors.unimplemented(
            f"Conversion of JSON Value: {json_text.shown(value)} to type: {dtype_name(dtype)}"
        )
    if not fits:
        raise type_error(value, dtype=dtype)
    return value


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


def is_64_bit(value: int) -> bool:
    """Whether an integer is one of int64 or uint64; RapidJSON reads another as a double."""
    return -(2**63) <= value < 2**64


def type_error(value: Any, *, dtype: int) -> errors.ServingError:
    """The error for a value of another type."""
    return errors.invalid_argument(
        f"JSON Value: {json_text.shown(value)} Type: {json_text.type_name(value)} "
        f"is not of expected type: {dtype_name(dtype)}"
    )


def read_all(values: list[Any], *, dtype: int) -> np.ndarray | None:
    """Converts many values at once, where all are plainly right.

    Args:
        values: as `json_parse` gives them; no lists.
        dtype: number of the wanted DataType, of numbers or truth values.

    Returns:
        [number of values] of the type; None where `read` must look at each one.
    """
    types = set(map(type, values))
    if dtype in _FLOATS:
        return _read_floats(values, dtype=dtype) if types <= {int, float} else None
    if dtype == BOOL:
        return np.array(values, dtype=np.bool_) if types <= {bool} else None
    if dtype not in _RANGES or not types <= {int}:
        return None
    try:
        array = np.array(values, dtype=np.int64)
    except OverflowError:
        return None
    limits = _RANGES[dtype]
    if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
        return None
    return array.astype(_NUMPY[dtype])


def _read_floats(values: list[Any], *, dtype: int) -> np.ndarray | None:
    """None: an integer is beyond float64."""
    try:
        array = np.array(values, dtype=np.float64)
        for i in np.flatnonzero(np.abs(array) >= _SIZE_64).tolist():
            if type(values[i]) is int and not is_64_bit(values[i]):
                array[i] = json_decimals.read(str(values[i]))
    except (OverflowError, ValueError):  # ValueError: more digits than Python writes
        return None
    kind = _FLOATS[dtype]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        array = array.astype(kind, copy=False)
        # TensorFlow's threads flush denormal numbers, and so TF Serving answers 0.0.
        array[np.abs(array) < np.finfo(kind).tiny] *= 0  # the sign stays
    return array
