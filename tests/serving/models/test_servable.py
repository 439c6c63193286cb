"""A servable in this process: loading, signatures, what is batched, and errors of the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server.errors import ServingError
from serving.model_server.models import inference
from serving.model_server.models.servable import LoadError, Servable, order_arrays, read_inputs
from serving.model_server.models.tensors import PREDICT
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
        toy.predict({"text": tf.make_tensor_proto(["no number"])}, signature_name="to_number")
    assert error.value.code.name == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("", {"text": "a"}, "input text has shape [], of rank 0; the signature's [-1] has rank 1"),
        ("total", {"x": [[1.0]]}, "input x has shape [1,1], of rank 2; the signature's [-1] has rank 1"),
        ("busy", {"turns": [1]}, "input turns has shape [1], of rank 1; the signature's [] has rank 0"),
    ],
)
def test_another_rank_is_refused_before_anything_runs(
    toy: Servable, signature: str, inputs: dict[str, Any], message: str
) -> None:
    call = toy.call(signature)
    arrays = [np.array(value, dtype=object if value == "a" else None) for value in inputs.values()]
    with pytest.raises(ServingError) as error:
        asyncio.run(toy.run(call, arrays))
    assert (error.value.code.name, error.value.message) == ("INVALID_ARGUMENT", message)
    protos = {alias: tf.make_tensor_proto(value) for alias, value in inputs.items()}
    with pytest.raises(ServingError, match="of rank"):
        toy.predict(protos, signature_name=signature)


def test_any_rank_goes_where_the_signature_says_none(toy: Servable) -> None:
    for value in (1.0, [1.0], [[1.0]]):
        inputs = {"x": tf.make_tensor_proto(value)}
        assert toy.predict(inputs, signature_name="any_shape")["x"].tolist() == value


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
        return [a.item() for a in read_inputs(inputs, signature=signature)]

    assert read(x=one) == [7, 1]
    assert read(x=one, k=one) == [1, 1]
    assert [a.item() for a in order_arrays({"x": np.int32(1)}, signature=signature)] == [7, 1]
    for inputs, message in (
        ({"k": one}, "Signature input alias: x.* or default input alias set: k"),
        ({"x": one, "z": one}, "Inputs contains invalid name. Used request inputs: x, request input: x,z"),
    ):
        with pytest.raises(ServingError, match=message):
            read(**inputs)


def test_method_names_count_only_where_they_are_checked(toy_path: Path) -> None:
    lenient, strict = (
        Servable(str(toy_path), name="toy", version=1, check_method_names=checked)
        for checked in (False, True)
    )
    assert inference.classify_call(lenient, "classify").outputs == ("classes", "scores")
    lenient.signatures["classify"].method_name = strict.signatures["classify"].method_name = PREDICT
    assert inference.classify_call(lenient, "classify").outputs == ("classes", "scores")
    with pytest.raises(ServingError, match="to be tensorflow/serving/classify. Was"):
        inference.classify_call(strict, "classify")
    lenient.close()
    strict.close()
