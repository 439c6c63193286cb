"""Tensors as protos, and TF Serving's names of signatures and methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.model_server import errors

DEFAULT_SIGNATURE = "serving_default"
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))
# What one message may hold (gRPC's INT32_MAX). A proto may repeat one value over a shape, so without a
# bound twenty bytes could ask for terabytes.
_MAX_BYTES = 2**31 - 1

_FIELD = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
}
# Numbers of the fields whose values go over the wire as they lie in memory; worth it beyond a few values.
_PACKED_FIELD = {types_pb2.DT_FLOAT: 5, types_pb2.DT_DOUBLE: 6}
_FEW_VALUES = 64


def dtype_name(dtype: int) -> str:
    """TensorFlow's name of a DataType number: float, string, int64."""
    name = types_pb2.DataType.Name(dtype) if dtype in types_pb2.DataType.values() else f"DT_{dtype}"
    return name.removeprefix("DT_").lower()


def to_array(proto: tensor_pb2.TensorProto, *, alias: str) -> np.ndarray:
    """Reads a tensor from its typed field or from `tensor_content`.

    Args:
        proto: any dense dtype.
        alias: name of the input, for the message.

    Returns:
        Array of the proto's shape; strings as objects (bytes).

    Raises:
        ServingError: INVALID_ARGUMENT; unknown dtype, unknown or negative size, or values that do not
            fit the shape.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype not in _FIELD or proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise _malformed(alias)
    itemsize = tf.dtypes.as_dtype(proto.dtype).size or 1
    count = math.prod(shape)
    if count * itemsize > _MAX_BYTES or not _fits(proto, count=count, itemsize=itemsize):
        raise _malformed(alias)
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError) as error:
        raise _malformed(alias) from error


def _malformed(alias: str) -> errors.ServingError:
    return errors.invalid_argument(f"tensor parsing error: {alias}")


def _fits(proto: tensor_pb2.TensorProto, *, count: int, itemsize: int) -> bool:
    if proto.tensor_content:
        return proto.dtype != types_pb2.DT_STRING and len(proto.tensor_content) == count * itemsize
    per_value = 2 if proto.dtype in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128) else 1
    given = len(getattr(proto, _FIELD[proto.dtype])) // per_value
    # Fewer values than places: the last one is repeated (tensor.proto). None at all would leave only zeros.
    return 0 < given <= count or given == count == 0


def write(array: np.ndarray, *, proto: tensor_pb2.TensorProto) -> None:
    """Writes a tensor into its typed field, as TF Serving answers.

    Args:
        array: any dtype of TensorFlow; strings as objects.
        proto: empty; takes shape, dtype and the values in row-major order.

    Raises:
        ServingError: INVALID_ARGUMENT; no proto holds this dtype.
    """
    dtype = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
    if dtype not in _FIELD:
        raise errors.invalid_argument(
            f"an output has dtype {dtype_name(dtype)}, which no TensorProto field holds"
        )
    proto.dtype = dtype
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.SetInParent()  # a scalar has a shape without dimensions, which is not no shape
    if dtype in _PACKED_FIELD and array.size > _FEW_VALUES:
        proto.MergeFromString(_packed(array, field_number=_PACKED_FIELD[dtype]))
    else:
        getattr(proto, _FIELD[dtype]).extend(_field_values(array.ravel(), dtype))


def _packed(array: np.ndarray, *, field_number: int) -> bytes:
    """A packed repeated field as it goes over the wire: 12 million floats in 0.05 s instead of 5.

    https://protobuf.dev/programming-guides/encoding/#packed
    """
    values = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    header, length = [field_number << 3 | 2], len(values)
    while length > 127:
        header.append(length & 127 | 128)
        length >>= 7
    return bytes([*header, length]) + values


def write_all(
    arrays: Mapping[str, np.ndarray], *, protos: MutableMapping[str, tensor_pb2.TensorProto]
) -> None:
    """Writes arrays by alias into a proto's map; see `write`."""
    for alias, array in arrays.items():
        write(array, proto=protos[alias])


def _field_values(values: np.ndarray, dtype: int) -> list[Any]:
    """The values as their field holds them: halves as bits, complex numbers as pairs."""
    if dtype == types_pb2.DT_STRING:
        return [value if isinstance(value, bytes) else str(value).encode() for value in values.tolist()]
    views = {
        types_pb2.DT_HALF: np.uint16,
        types_pb2.DT_BFLOAT16: np.uint16,
        types_pb2.DT_COMPLEX64: np.float32,
        types_pb2.DT_COMPLEX128: np.float64,
    }
    return list(values.view(views[dtype]).tolist() if dtype in views else values.tolist())
