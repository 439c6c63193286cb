"""A servable in this process: loading, warm-up, signatures, batching, and tensors."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server import signatures, tensors
from serving.model_server.batching import BatchingParameters
from serving.model_server.errors import ServingError
from serving.model_server.servable import LoadError, Servable, SignatureCall
from tests.serving.contract.calls import examples, spec, task
from tests.serving.soak.models import save_encoder

Log = prediction_log_pb2.PredictionLog


def write_warmup(folder: Path, *records: bytes) -> Path:
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)
    return folder


def predict_log(text: Any, *, signature: str = "serving_default") -> bytes:
    log = Log()
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(text))
    return log.SerializeToString()


def classify_log(signature: str) -> bytes:
    request = {"model_spec": spec(signature=signature), "input": examples([{"x": 0.5}])}
    return Log(classify_log={"request": request}).SerializeToString()


def regress_log(signature: str, *, rows: int = 1) -> bytes:
    request = {"model_spec": spec(signature=signature), "input": examples([{"x": 0.5}] * rows)}
    return Log(regress_log={"request": request}).SerializeToString()


def multi_log(*tasks: Any) -> bytes:
    request = {"tasks": tasks, "input": examples([{"x": 0.5}])}
    return Log(multi_inference_log={"request": request}).SerializeToString()


def load(path: Path, *, batching: BatchingParameters | None = None) -> Servable:
    return Servable(str(path), name="toy", version=1, batching=batching)


@pytest.fixture
def copy(toy_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_path, tmp_path / "1"))


@pytest.fixture(scope="module")
def toy(toy_path: Path) -> Iterator[Servable]:
    servable = load(toy_path)
    yield servable
    servable.close()


def test_w1_requests_of_all_four_kinds_are_replayed_before_the_model_is_there(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, tuple[str, ...], list[int]]] = []
    make = Servable.call

    def spying(self: Servable, *arguments: Any) -> SignatureCall:
        call = make(self, *arguments)
        function = call.function
        if not hasattr(function, "spied"):

            def spy(*arrays: np.ndarray) -> Any:
                ran.append((call.signature_name, call.outputs, [len(a) for a in arrays]))
                return function(*arrays)

            spy.spied = True  # type: ignore[attr-defined]
            call.function = spy
        return call

    monkeypatch.setattr(Servable, "call", spying)
    multi = multi_log(task("regress", "regress"), task("classify", "classify"))
    records = [predict_log(["a", "b"]), classify_log("classify_scores"), regress_log("regress_column"), multi]
    load(write_warmup(copy, *records)).close()
    assert ran == [
        ("serving_default", ("label", "labels", "probabilities"), [2]),
        ("classify_scores", ("scores",), [1]),
        ("regress_column", ("outputs",), [1]),
        ("regress", ("outputs",), [1]),
        ("classify", ("classes", "scores"), [1]),
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            predict_log([1.0]),
            "warm-up request 1 failed: INVALID_ARGUMENT: Expects arg[0] to be string but float is provided",
        ),
        (
            predict_log(["a"], signature="gone"),
            'warm-up request 1 failed: FAILED_PRECONDITION: Serving signature key "gone" not found.',
        ),
        (
            predict_log(["no number"], signature="to_number"),
            "warm-up request 1 failed: INVALID_ARGUMENT: StringToNumberOp could not correctly convert string",
        ),
        (
            classify_log("regress"),
            "warm-up request 1 failed: INVALID_ARGUMENT: Expected classification signature method_name to be "
            "tensorflow/serving/classify. Was: tensorflow/serving/regress",
        ),
        (regress_log("regress", rows=0), "warm-up request 1 failed: INVALID_ARGUMENT: Input is empty."),
        (
            multi_log(task("gone", "regress")),
            "warm-up request 1 failed: INVALID_ARGUMENT: Requested signature not found in model graph: gone",
        ),
        (b"\xff", "warm-up request 1 is no PredictionLog: Error parsing message"),
        (
            Log(session_run_log={}).SerializeToString(),
            "warm-up request 1 is a session_run_log; give predict_log, classify_log, regress_log or "
            "multi_inference_log",
        ),
    ],
)
def test_w1_a_failing_record_fails_the_load(record: bytes, message: str, copy: Path) -> None:
    with pytest.raises(LoadError) as error:
        load(write_warmup(copy, record))
    assert str(error.value).startswith(message)


def test_w1_1000_records_are_replayed_and_the_1001st_fails_the_load(copy: Path, tmp_path: Path) -> None:
    more = Path(shutil.copytree(copy, tmp_path / "2"))
    load(write_warmup(copy, *[predict_log(["a"])] * 1000)).close()
    with pytest.raises(LoadError, match="holds more than 1000 requests"):
        load(write_warmup(more, *[predict_log(["a"])] * 1001))


def test_w1_a_warmup_file_that_is_cut_off_fails_the_load(copy: Path) -> None:
    file = write_warmup(copy, predict_log(["a"])) / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(LoadError, match="is no TFRecord file after 0 requests"):
        load(copy)


def test_missing_weights_fail_the_load_in_one_line(copy: Path) -> None:
    for path in (copy / "variables").iterdir():
        path.unlink()
    with pytest.raises(LoadError) as error:
        load(copy)
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


async def _all(servable: Servable, call: SignatureCall, requests: list[list[np.ndarray]]) -> list[Any]:
    runs = [servable.run(call, request) for request in requests]
    return list(await asyncio.gather(*runs, return_exceptions=True))


def ask(servable: Servable, signature: str, requests: list[list[np.ndarray]]) -> list[Any]:
    """All requests at once; dicts of lists, or errors."""
    answers = asyncio.run(_all(servable, servable.call(signature), requests))
    return [
        answer if isinstance(answer, Exception) else {k: v.tolist() for k, v in answer.items()}
        for answer in answers
    ]


BATCHINGS = [
    None,
    BatchingParameters(max_batch_size=8, num_batch_threads=1),
    BatchingParameters(max_batch_size=8, num_batch_threads=2, allowed_batch_sizes=(4, 8)),
]


@pytest.mark.parametrize("batching", BATCHINGS)
def test_every_kind_of_request_is_answered_alike_with_and_without_batching(
    toy_path: Path, batching: BatchingParameters | None
) -> None:
    """Rows, one row, many rows, rank 0, outputs without rows, outputs of fixed size, and lost rows."""
    servable = load(toy_path, batching=batching)

    def floats(*rows: list[float]) -> list[list[np.ndarray]]:
        return [[np.array(row, np.float32)] for row in rows]

    x = [[float(i)] * (i % 5 + 1) for i in range(20)] + [[1.5] * 20]
    assert ask(servable, "total", floats(*x)) == [
        {"total": sum(row), "twice": [2 * v for v in row]} for row in x
    ]
    fixed = floats([1.0, 2.0, 3.0], [4.0], [5.0, 6.0])
    assert ask(servable, "fixed", fixed) == [
        {"three": [1.0, 2.0, 3.0], "twice": [2.0, 4.0, 6.0]},
        {"three": [1.0, 2.0, 3.0], "twice": [8.0]},
        {"three": [1.0, 2.0, 3.0], "twice": [10.0, 12.0]},
    ]
    signs = [[1.0, -1.0], [-1.0], [2.0], [3.0, -1.0, 4.0] * 6]
    assert ask(servable, "positive", floats(*signs)) == [
        {"positive": [v for v in row if v > 0]} for row in signs
    ]
    assert ask(servable, "busy", [[np.array(0, np.int32)]] * 3) == [{"trace": 400.0}] * 3
    texts = [[np.array([b"hi"] * (i % 4 + 1), object)] for i in range(12)]
    answers = ask(servable, "serving_default", texts)
    assert [answer["label"] for answer in answers] == [[b"short"] * (i % 4 + 1) for i in range(12)]
    servable.close()


def test_a_bad_row_fails_only_the_request_that_sent_it(toy_path: Path) -> None:
    servable = load(toy_path, batching=BATCHINGS[1])
    texts = [b"1", b"2", b"no number", b"4", b"\xff", b"6"]
    answers = ask(servable, "to_number", [[np.array([text], object)] for text in texts])
    assert [a if isinstance(a, dict) else type(a) for a in answers] == [
        {"number": [2.0]},
        {"number": [3.0]},
        ServingError,
        {"number": [5.0]},
        ServingError,
        {"number": [7.0]},
    ]
    assert answers[2].message.startswith("StringToNumberOp could not correctly convert string: no number")
    servable.close()


def test_versions_models_signatures_and_output_filters_are_never_mixed(models_on_disk: Any) -> None:
    """Each servable has a queue of its own, and each set of outputs a call of its own."""
    batching = BatchingParameters(max_batch_size=16, num_batch_threads=2)
    folders = {("toy", 1): 1.0, ("toy", 2): 2.0, ("other", 7): 7.0}
    loaded = {
        key: Servable(
            str(models_on_disk.folder / key[0] / str(key[1])), name=key[0], version=key[1], batching=batching
        )
        for key in folders
    }
    wrong: list[Any] = []

    async def one(key: tuple[str, int], wanted: tuple[str, ...], value: int) -> None:
        call = loaded[key].call("arithmetic", wanted)
        arrays = [np.array([value], np.int32), np.array([[2.0 * value]], np.float32)]
        answer = await loaded[key].run(call, arrays)
        expected = {"n": [value + 1], "y": [[value + folders[key]]], "raw_bytes": [str(value).encode()]}
        if {k: v.tolist() for k, v in answer.items()} != {k: expected[k] for k in wanted or expected}:
            wrong.append((key, wanted, value, answer))

    async def main() -> None:
        filters: list[tuple[str, ...]] = [(), ("y",), ("n", "y")]
        for start in range(0, 900, 90):
            await asyncio.gather(
                *[one(list(folders)[v % 3], filters[v // 3 % 3], v) for v in range(start, start + 90)]
            )

    asyncio.run(main())
    assert wrong == []
    for servable in loaded.values():
        servable.close()


@pytest.mark.parametrize("batching", BATCHINGS[1:])
def test_batched_answers_are_those_of_rows_alone(encoder_path: Path, batching: BatchingParameters) -> None:
    """Within 1e-5, texts of mixed length, on a layer of attention that pads to the longest of a batch."""
    texts = [" ".join(f"word{(i * j) % 97}" for j in range(i % 23 + 1)).encode() for i in range(200)]
    requests = [[np.array([text], object)] for text in texts]
    alone, batched = load(encoder_path), load(encoder_path, batching=batching)
    one_by_one = [alone.call().function(*request) for request in requests]
    together = asyncio.run(_all(batched, batched.call(), requests))
    for (label, probabilities), answer in zip(one_by_one, together, strict=True):
        assert answer["label"].tolist() == label.tolist()
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5, rtol=0)
    alone.close()
    batched.close()


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder") / "1")


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
    proto = tensors.to_proto(array)
    assert proto.tensor_content == b""
    assert proto.HasField("tensor_shape")
    back = tensors.to_array(proto, alias="x")
    assert (back.shape, back.tolist()) == (array.shape, array.tolist())
