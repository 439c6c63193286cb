"""Numbers between JSON and tensors: strict types in, the shortest text that reads back equal out."""

from __future__ import annotations

import json
import math
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from serving.model_server import errors
from serving.model_server.tensors import dtype_name

# Largest integer up to which each one has a float of its own.
_MAX_EXACT = {tf.float32.as_datatype_enum: 2**24 - 1, tf.float64.as_datatype_enum: 2**53 - 1}
_MAX_FLOAT = {
    tf.float32.as_datatype_enum: float(np.finfo(np.float32).max),
    tf.float64.as_datatype_enum: math.inf,
}
_INTEGERS = {
    dtype.as_datatype_enum: dtype
    for dtype in (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64)
}


def read(value: Any, *, dtype: int, shown: str) -> Any:
    """Converts one JSON value.

    Args:
        value: as `json.loads` gives it.
        dtype: number of the wanted DataType.
        shown: the value as text, for the message.

    Raises:
        ServingError: INVALID_ARGUMENT, it has another type or does not fit; UNIMPLEMENTED, no JSON value
            has this type (half, complex).
    """
    if dtype == tf.bool.as_datatype_enum:
        fits = isinstance(value, bool)
    elif dtype in _INTEGERS:
        limits = _INTEGERS[dtype]
        fits = type(value) is int and limits.min <= value <= limits.max
    elif dtype in _MAX_EXACT:
        fits = type(value) in (int, float)
    else:
        message = f"Conversion of JSON Value: {shown} to type: {dtype_name(dtype)}"
        raise errors.ServingError(grpc.StatusCode.UNIMPLEMENTED, message)
    if not fits:
        raise type_error(value, dtype=dtype, shown=shown)
    if dtype in _MAX_EXACT and _is_lossy(value, dtype):
        name = "float" if dtype == tf.float32.as_datatype_enum else "double"
        raise errors.invalid_argument(
            f"Cannot convert JSON value: {shown} to {name} without loss of precision."
        )
    return value


def type_error(value: Any, *, dtype: int, shown: str) -> errors.ServingError:
    """The error for a value of another type."""
    return errors.invalid_argument(
        f"JSON Value: {shown} Type: {_type_name(value)} is not of expected type: {dtype_name(dtype)}"
    )


def _is_lossy(value: float, dtype: int) -> bool:
    if isinstance(value, int):
        return abs(value) > _MAX_EXACT[dtype]
    return math.isfinite(value) and abs(value) > _MAX_FLOAT[dtype]


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
    return names[type(value)]


def write(value: Any) -> str:
    """Writes one NumPy scalar.

    >>> write(np.float32(0.2)), write(np.float32(3)), write(np.float64("nan")), write(np.int64(7))
    ('0.2', '3.0', 'NaN', '7')

    Returns:
        A float in the shortest of %.6g that reads back equal at its own width, else %.9g (float32) or
        %.17g (float64), with .0 where it would read as an integer.

    Raises:
        ServingError: UNIMPLEMENTED; complex.
    """
    if isinstance(value, (np.complexfloating, complex)):
        raise errors.ServingError(grpc.StatusCode.UNIMPLEMENTED, "Complex outputs have no JSON form")
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return json.dumps(value.item() if isinstance(value, np.generic) else value)
    width = type(value) if isinstance(value, np.floating) else np.float32
    number = float(value)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    text = f"{number:.6g}"
    if width(text) != value:
        text = f"{number:.17g}" if width is np.float64 else f"{number:.9g}"
    return text if "." in text or "e" in text else text + ".0"
