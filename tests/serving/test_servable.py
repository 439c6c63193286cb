"""A servable in this process: loading, signatures, what is batched, and errors of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import signatures
from serving.model_server.errors import ServingError
from serving.model_server.servable import LoadError, Servable
from tests.serving.toys import load


@pytest.fixture(scope="module")
def toy(toy_path: Path) -> Iterator[Servable]:
    servable = load(toy_path)
    yield servable
    servable.close()


def test_missing_weights_fail_the_load_in_one_line(toy_copy: Path) -> None:
    for path in (toy_copy / "variables").iterdir():
        path.unlink()
    with pytest.raises(LoadError) as error:
        load(toy_copy)
    assert "variables" in str(error.value)
    assert "\n" not in str(error.value)


def test_graph_errors_keep_their_code(toy: Servable) -> None:
    inputs = {"x": tf.make_tensor_proto([[1.0, 2.0]]), "n": tf.make_tensor_proto([1])}
    # C++ sessions do not check declared shapes: two columns to an input of [-1, 1] are answered.
    assert toy.predict(inputs, signature_name="arithmetic")["y"].tolist() == [[1.5, 2.0]]
    with pytest.raises(ServingError) as error:
        toy.predict({"text": tf.make_tensor_proto("a scalar")})
    assert error.value.code.name == "INVALID_ARGUMENT"


def test_signatures_that_cannot_be_called_are_there_but_not_for_predict(toy: Servable) -> None:
    assert toy.signatures["__saved_model_init_op"].method_name == ""
    with pytest.raises(ServingError, match="method_name to be one of"):
        toy.predict({}, signature_name="__saved_model_init_op")


@pytest.mark.parametrize(
    ("signature", "outputs", "batchable"),
    [
        ("arithmetic", (), True),
        ("types", (), True),
        ("classify", (), True),
        ("busy", (), False),  # rank 0
        ("total", (), False),  # one output of rank 0
        ("total", ("twice",), True),  # but not this one
        ("fixed", (), False),  # an output of three values
        ("any_shape", (), False),  # nobody knows
    ],
)
def test_only_what_is_declared_to_have_rows_is_batched(
    toy: Servable, signature: str, outputs: tuple[str, ...], batchable: bool
) -> None:
    assert toy.call(signature, outputs).batchable is batchable


def test_an_input_with_a_default_may_be_missing() -> None:
    signature = meta_graph_pb2.SignatureDef()
    for alias in ("k", "x"):
        signature.inputs[alias].dtype = tf.int32.as_datatype_enum
    signature.defaults["k"].CopyFrom(tf.make_tensor_proto(7))
    one = tf.make_tensor_proto(1)

    def read(**inputs: Any) -> list[int]:
        return [a.item() for a in signatures.read_inputs(inputs, signature=signature)]

    assert read(x=one) == [7, 1]
    assert read(x=one, k=one) == [1, 1]
    assert [a.item() for a in signatures.order_arrays({"x": np.int32(1)}, signature=signature)] == [7, 1]
    for inputs, message in (
        ({"k": one}, "Signature input alias: x.* or default input alias set: k"),
        ({"x": one, "z": one}, "Inputs contains invalid name. Used request inputs: x, request input: x,z"),
    ):
        with pytest.raises(ServingError, match=message):
            read(**inputs)
