"""Numbers of a JSON request to those of a tensor: strict types; floats and small integers as in TF Serving's C++."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from serving.model_server import errors
from serving.model_server.models.signatures import dtype_name
from serving.model_server.rest import text

# So many digits a float64 holds exactly, and with a point as many characters: there RapidJSON is right, as `float` is.
_EXACT_DIGITS, _EXACT_CHARS = 15, 16
_MAX_EXACT, _MAX_UINT64, _MAX_INT64_SIZE = 2**53 - 1, 2**64 - 1, 2**63
# Digits beyond this number of them are skipped.
_DIGITS = 17
_SMALLEST_POWER = -308
_POWER_CHARS = 12
_POWERS = tuple(float(f"1e{power}") for power in range(309))


def read_decimal(text: str) -> float:
    """Reads a decimal; infinite where it is beyond float64.

    >>> read_decimal("0.5"), read_decimal("123456789.123456789"), float("123456789.123456789")
    (0.5, 123456789.12345681, 123456789.12345679)

    The algorithm is `ParseNumber` and `StrtodNormalPrecision` of RapidJSON 1.1.0 (include/rapidjson/reader.h and
    internal/strtod.h): digits are gathered in an integer of 64 bits, then in a float64, and scaled once.

    Args:
        text: of a JSON number.
    """
    exponent = ""
    if "e" in text or "E" in text:
        text, _, exponent = text.lower().partition("e")
    elif len(text) <= _EXACT_CHARS:
        return float(text)
    sign = text.startswith("-")
    whole, _, fraction = text[sign:].partition(".")
    if len(whole) > len(_POWERS):
        return float("-inf" if sign else "inf")
    value, taken = _gather(whole, fraction, largest=_MAX_INT64_SIZE if sign else _MAX_UINT64)
    # A power of so many digits makes 0 or infinity of every number that a body can hold.
    power = int(exponent.lstrip("+-0")[:_POWER_CHARS] or "0")
    value = _scale(value, (-power if exponent.startswith("-") else power) - taken)
    return -value if sign else value


def _gather(whole: str, fraction: str, *, largest: int) -> tuple[float, int]:
    """The digits as a number, and how many of those behind the point are in it."""
    digits = (whole + fraction).lstrip("0")
    if len(whole) < _EXACT_DIGITS:
        number = int(digits[: _EXACT_DIGITS + 1] or "0")
        taken = min(len(digits), _EXACT_DIGITS + 1)
        if taken < len(digits) and number <= _MAX_EXACT:
            number, taken = int(digits[: taken + 1]), taken + 1
        value, left = float(number), digits[taken:]
        significant = taken - (whole != "0")
    else:
        value, significant, left = _from_long_whole(whole, fraction, largest=largest)
    for digit in left[: max(0, _DIGITS - significant)]:
        value = value * 10.0 + int(digit)
        left = left[1:]
    return value, len(fraction) - len(left)


def _from_long_whole(whole: str, fraction: str, *, largest: int) -> tuple[float, int, str]:
    """The value, how many digits count as significant in it, and the digits that are left."""
    number, significant = int(whole), len(whole) - 1
    if number <= largest:
        taken = 0
        while taken < len(fraction) and number <= _MAX_EXACT:
            number, taken = number * 10 + int(fraction[taken]), taken + 1
        return float(number), significant + taken, fraction[taken:]
    fits = len(str(largest))
    if int(whole[:fits]) > largest:
        fits -= 1
    value = float(int(whole[:fits]))
    for digit in whole[fits:]:
        value = value * 10.0 + int(digit)
    return value, fits - 1, fraction


def _scale(value: float, power: int) -> float:
    if power < _SMALLEST_POWER:
        return _scale_once(_scale_once(value, _SMALLEST_POWER), power - _SMALLEST_POWER)
    return _scale_once(value, power)


def _scale_once(value: float, power: int) -> float:
    if power < _SMALLEST_POWER:
        return 0.0
    if power < 0:
        return value / _POWERS[-power]
    return value * _POWERS[power] if power < len(_POWERS) else float("inf")


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
            f"Conversion of JSON Value: {text.shown(value)} to type: {dtype_name(dtype)}"
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
        f"JSON Value: {text.shown(value)} Type: {text.type_name(value)} "
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
                array[i] = read_decimal(str(values[i]))
    except (OverflowError, ValueError):  # ValueError: more digits than Python writes
        return None
    kind = _FLOATS[dtype]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        array = array.astype(kind, copy=False)
        # TensorFlow's threads flush denormal numbers, and so TF Serving answers 0.0.
        array[np.abs(array) < np.finfo(kind).tiny] *= 0  # the sign stays
    return array
