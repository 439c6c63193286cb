"""Numbers of a JSON request to those of a tensor: strict types, nothing lost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from serving.model_server import errors, json_text
from serving.model_server.tensors import dtype_name

# What `Infinity` is read as. Another infinite float is what Python makes of a number like 1e999.
INFINITY = float("inf")
MINUS_INFINITY = float("-inf")

FLOAT32, FLOAT64 = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
BOOL = tf.bool.as_datatype_enum
# Largest integer up to which each one has a float of its own.
_MAX_EXACT = {FLOAT32: 2**24 - 1, FLOAT64: 2**53 - 1}
_MAX_FLOAT = {FLOAT32: float(np.finfo(np.float32).max), FLOAT64: math.inf}
_INTEGERS = {
    dtype.as_datatype_enum: dtype
    for dtype in (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)
}
_NAMES = {FLOAT32: "float", FLOAT64: "double"}


def read(value: Any, *, dtype: int) -> Any:
    """Converts one JSON value.

    Args:
        value: as `json_parse` gives it.
        dtype: number of the wanted DataType.

    Raises:
        ServingError: INVALID_ARGUMENT, it has another type or does not fit; UNIMPLEMENTED, no JSON value
            has this type (half, complex).
    """
    if dtype in _MAX_EXACT:
        if type(value) not in (int, float):
            raise type_error(value, dtype=dtype)
        return read_float(value, dtype=dtype)
    if dtype == BOOL:
        fits = isinstance(value, bool)
    elif dtype in _INTEGERS:
        limits = _INTEGERS[dtype]
        fits = type(value) is int and limits.min <= value <= limits.max
    else:
        raise errors.unimplemented(
            f"Conversion of JSON Value: {json_text.shown(value)} to type: {dtype_name(dtype)}"
        )
    if not fits:
        raise type_error(value, dtype=dtype)
    return value


def read_float(value: float, *, dtype: int) -> float:
    """A number as a float; an integer must have a float of its own, and nothing but `Infinity` is infinite.

    Args:
        value: int or float.
        dtype: FLOAT32 or FLOAT64.

    Raises:
        ServingError: INVALID_ARGUMENT; it would be another number.
    """
    if type(value) is int:
        if is_64_bit(value):
            lossy = abs(value) > _MAX_EXACT[dtype]
        else:  # RapidJSON reads it as a double, and so do we
            lossy = abs(value) > _MAX_FLOAT[dtype]
            value = float(value) if abs(value) < 10**308 else math.inf
    else:
        lossy = math.isfinite(value) and abs(value) > _MAX_FLOAT[dtype]
    if math.isinf(value) and value is not INFINITY and value is not MINUS_INFINITY:
        raise errors.invalid_argument("JSON Parse error: Number too big to be stored in double.")
    if lossy:
        raise errors.invalid_argument(
            f"Cannot convert JSON value: {json_text.shown(value)} to {_NAMES[dtype]} without loss of precision."
        )
    return value


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
    if dtype in _MAX_EXACT:
        return _read_floats(values, dtype=dtype, types=types)
    if dtype == BOOL:
        return np.array(values, dtype=np.bool_) if types <= {bool} else None
    if dtype not in _INTEGERS or not types <= {int}:
        return None
    try:
        array = np.array(values, dtype=np.int64)
    except OverflowError:
        return None
    limits = _INTEGERS[dtype]
    if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
        return None
    return array.astype(limits.as_numpy_dtype)


def _read_floats(values: list[Any], *, dtype: int, types: set[type]) -> np.ndarray | None:
    if not types <= {int, float}:
        return None
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    limit = _MAX_EXACT[dtype] if int in types else min(_MAX_FLOAT[dtype], np.finfo(np.float64).max)
    # False where it is not a number, which is right as it is.
    if (np.abs(array) > limit).any():
        return None
    return array.astype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
