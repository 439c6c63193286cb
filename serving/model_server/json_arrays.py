"""Nested lists of a JSON request to dense arrays."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving.model_server import errors, json_numbers, json_text

STRING = tf.string.as_datatype_enum

# NumPy's bound; TensorFlow's own is 254, and no model uses half as many.
_MAX_RANK = 32
# Values read in one step of C code, between which other threads get their turn.
_BLOCK_VALUES = 2**16


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
    if dtype != STRING:
        return json_numbers.read_all(values, dtype=dtype)
    if not set(map(type, values)) <= {str}:
        return None
    return _to_array(list(map(json_text.to_bytes, values)), dtype=dtype)


def _to_array(values: list[Any], *, dtype: int) -> np.ndarray:
    return np.array(values, dtype=tf.dtypes.as_dtype(dtype).as_numpy_dtype)


def _collect(value: Any, *, level: int, shape: list[int], dtype: int, values: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise errors.invalid_argument(
                f"JSON Value: {json_text.shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
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
    if dtype != STRING:
        return json_numbers.read(value, dtype=dtype)
    if isinstance(value, str):
        return json_text.to_bytes(value)
    if not isinstance(value, dict):
        raise json_numbers.type_error(value, dtype=dtype)
    if not is_base64(value):
        raise errors.invalid_argument(
            f"JSON Value: {json_text.shown(value)} not formatted correctly for base64 data"
        )
    return decode_base64(value)
