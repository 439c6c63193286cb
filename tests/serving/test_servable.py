"""Loading in this process: warm-up, refusals, and the JSON and tensor conversions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server import json_inputs, json_numbers, json_outputs, tensors
from serving.model_server.errors import ServingError
from serving.model_server.servable import LoadError, Servable


def write_warmup(folder: Path, *records: bytes) -> Path:
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)
    return folder


def log_of(text: Any, *, signature: str = "serving_default") -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(text))
    return log.SerializeToString()


def load(path: Path) -> Servable:
    return Servable(str(path), name="toy", version=1)


@pytest.fixture
def copy(toy_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_path, tmp_path / "1"))


def test_warmup_requests_are_replayed_before_the_model_is_there(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    predict = Servable.predict
    monkeypatch.setattr(
        Servable, "predict", lambda self, inputs, **kw: seen.append(kw) or predict(self, inputs, **kw)
    )
    load(write_warmup(copy, log_of(["a"]), log_of(["b", "c"]))).close()
    assert seen == [{"signature_name": "serving_default", "output_filter": ()}] * 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            log_of([1.0]),
            "warm-up request 1 failed: INVALID_ARGUMENT: Expects arg[0] to be string but float is provided",
        ),
        (
            log_of(["a"], signature="gone"),
            'warm-up request 1 failed: FAILED_PRECONDITION: Serving signature key "gone" not found.',
        ),
        (b"\xff", "warm-up request 1 is no PredictionLog: Error parsing message"),
        (
            prediction_log_pb2.PredictionLog(regress_log={}).SerializeToString(),
            "warm-up request 1 is a regress_log; only predict_log is supported",
        ),
    ],
)
def test_failing_warmup_request_fails_the_load(record: bytes, message: str, copy: Path) -> None:
    with pytest.raises(LoadError) as error:
        load(write_warmup(copy, record))
    assert str(error.value).startswith(message)


def test_too_many_warmup_requests_fail_the_load(copy: Path) -> None:
    with pytest.raises(LoadError, match="holds more than 1000 requests"):
        load(write_warmup(copy, *[log_of(["a"])] * 1001))


def test_missing_weights_fail_the_load_in_one_line(copy: Path) -> None:
    for path in (copy / "variables").iterdir():
        path.unlink()
    with pytest.raises(LoadError) as error:
        load(copy)
    assert "variables" in str(error.value)
    assert "\n" not in str(error.value)


def test_graph_errors_keep_their_code(toy_path: Path) -> None:
    servable = load(toy_path)
    inputs = {"x": tf.make_tensor_proto([[1.0, 2.0]]), "n": tf.make_tensor_proto([1])}
    # C++ sessions do not check declared shapes: two columns to an input of [-1, 1] are answered.
    assert servable.predict(inputs, signature_name="arithmetic")["y"].tolist() == [[1.5, 2.0]]
    with pytest.raises(ServingError) as error:
        servable.predict({"text": tf.make_tensor_proto("a scalar")})
    assert error.value.code.name == "INVALID_ARGUMENT"
    servable.close()


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
    ],
)
def test_tensors_go_through_typed_fields_and_back(array: np.ndarray) -> None:
    proto = tensors.to_proto(array)
    assert proto.tensor_content == b""
    back = tensors.to_array(proto, alias="x")
    assert (back.shape, back.tolist()) == (array.shape, array.tolist())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.2), "0.2"),
        (np.float32(1 / 3), "0.333333343"),
        (np.float32(3), "3.0"),
        (np.float32(1e7), "1e+07"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float32("nan"), "NaN"),
        (np.float64("-inf"), "-Infinity"),
        (np.int64(-7), "-7"),
        (np.bool_(True), "true"),
    ],
)
def test_numbers_are_written_as_short_as_they_read_back_equal(value: Any, text: str) -> None:
    assert json_numbers.write(value) == text


def test_rows_need_one_batch_size() -> None:
    outputs = {"a": np.zeros([2], np.int32), "b": np.zeros([3], np.int32)}
    with pytest.raises(ServingError, match="inconsistent batch size"):
        json_outputs.write_outputs(outputs, rows=True)
    assert json_outputs.write_outputs(outputs, rows=False) == '{"outputs": {"a": [0, 0], "b": [0, 0, 0]}}'


def read(document: Any, **dtypes: tf.DType) -> Any:
    inputs = {n: meta_graph_pb2.TensorInfo(dtype=d.as_datatype_enum) for n, d in dtypes.items()}
    arrays, rows = json_inputs.read_inputs(
        json_inputs.parse_object(json.dumps(document).encode()), inputs=inputs
    )
    return {name: array.tolist() for name, array in arrays.items()}, rows


def test_rows_and_columns_are_read() -> None:
    assert read({"instances": [1, 2.5]}, x=tf.float32) == ({"x": [1.0, 2.5]}, True)
    assert read({"instances": [{"x": [1], "s": "a"}]}, x=tf.int32, s=tf.string) == (
        {"x": [[1]], "s": [b"a"]},
        True,
    )
    assert read({"inputs": {"x": 1, "other": 2}}, x=tf.int64) == ({"x": 1}, False)
    assert read({"inputs": {"b64": "AP8="}}, s=tf.string) == ({"s": b"\x00\xff"}, False)


@pytest.mark.parametrize(
    ("document", "dtypes", "message"),
    [
        ({"instances": []}, {"x": tf.int32}, "No values in 'instances' array"),
        ({"instances": 1}, {"x": tf.int32}, "Excepting 'instances' to be an list/array"),
        ({"instances": [1], "inputs": [1]}, {"x": tf.int32}, "only one of 'inputs' or 'instances'"),
        (
            {"instances": [1, True]},
            {"x": tf.int32},
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true "
            "Type: True is not of expected type: int32",
        ),
        (
            {"instances": [300]},
            {"x": tf.uint8},
            "JSON Value: 300 Type: Number is not of expected type: uint8",
        ),
        ({"instances": [1]}, {"x": tf.bool}, "not of expected type: bool"),
        ({"instances": ["1"]}, {"x": tf.float32}, "Type: String is not of expected type: float"),
        (
            {"instances": [16777217]},
            {"x": tf.float32},
            "Cannot convert JSON value: 16777217 to float without",
        ),
        ({"instances": [{"b64": "?"}]}, {"s": tf.string}, "Unable to base64 decode"),
        ({"instances": [[1], [1, 2]]}, {"x": tf.int32}, "Expecting tensor size: 1 but got: 2"),
        ({"instances": [[[1, 2]], [[1], [2]]]}, {"x": tf.int32}, "Expecting shape [1,2] but got: [2,1]"),
        (
            {"instances": [{"x": 1}, 2]},
            {"x": tf.int32},
            "Expecting object but got list at item 1 of input list",
        ),
        (
            {"instances": [1]},
            {"x": tf.int32, "y": tf.int32},
            "instances is a plain list, but expecting list of",
        ),
        ({"instances": [{"x": 1}]}, {"x": tf.int32, "y": tf.int32}, "keys must be equal to: x,y"),
        ({"instances": [{"z": 1}]}, {"x": tf.int32}, "does not have named input: z"),
        ({"inputs": [[1, 2], [3]]}, {"x": tf.int32}, "Encountered list at unexpected size: 1 at level: 1"),
        ({"inputs": {"x": 1}}, {"x": tf.int32, "y": tf.int32}, "Missing named input: y in 'inputs' object."),
        ({"inputs": [1]}, {"x": tf.int32, "y": tf.int32}, "inputs is a plain value/list"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_name(
    document: Any, dtypes: dict[str, tf.DType], message: str
) -> None:
    with pytest.raises(ServingError) as error:
        read(document, **dtypes)
    assert message in error.value.message
    assert error.value.http_status == 400


def test_half_floats_have_no_json_form() -> None:
    with pytest.raises(ServingError) as error:
        read({"inputs": [1]}, x=tf.float16)
    assert error.value.http_status == 501
