"""Tensors go through TensorProto and back."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2

from serving.model_server.models import tensors


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0]], np.float32),
        np.array([1.5], np.float16),
        np.array([1 + 2j], np.complex64),
        np.array([], np.int64),
        np.array(7, np.uint8),
        np.array([True, False]),
        np.array([b"a", b"\xff\x00"], object),
        np.linspace(-1, 1, 1000, dtype=np.float32).reshape(10, 100),
        np.linspace(-1, 1, 10_000).T,
        np.arange(1000, dtype=np.float32).reshape(10, 100).T,
    ],
)
def test_tensors_go_through_typed_fields_and_back(array: np.ndarray) -> None:
    proto = tensor_pb2.TensorProto()
    tensors.write(array, proto=proto)
    assert proto.tensor_content == b""
    assert proto.HasField("tensor_shape")
    back = tensors.to_array(proto, alias="x")
    assert (back.shape, back.tolist()) == (array.shape, array.tolist())
