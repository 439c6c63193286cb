"""Warm-up requests: replayed before a version is there, and a load that fails where one of them does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server.models.servable import LoadError, Servable, SignatureCall
from tests.serving.contract.calls import examples, spec, task
from tests.serving.toys import load, write_warmup

Log = prediction_log_pb2.PredictionLog


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


def test_w1_requests_of_all_four_kinds_are_replayed_before_the_model_is_there(
    toy_copy: Path, monkeypatch: pytest.MonkeyPatch
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
    load(write_warmup(toy_copy, *records)).close()
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
            "warm-up request 1 failed: FAILED_PRECONDITION: Expected classification signature outputs to contain at "
            'least one of "classes" or "scores". Signature was: inputs {',
        ),
        (regress_log("regress", rows=0), "warm-up request 1 failed: INVALID_ARGUMENT: Input is empty."),
        (
            multi_log(task("gone", "regress")),
            "warm-up request 1 failed: INVALID_ARGUMENT: Requested signature not found in model graph: gone",
        ),
        (b"\xff", "warm-up request 1 is not a PredictionLog: Error parsing message"),
        (
            Log(session_run_log={}).SerializeToString(),
            "warm-up request 1 is a session_run_log; give predict_log, classify_log, regress_log or "
            "multi_inference_log",
        ),
    ],
)
def test_w1_a_failing_record_fails_the_load(record: bytes, message: str, toy_copy: Path) -> None:
    with pytest.raises(LoadError) as error:
        load(write_warmup(toy_copy, record))
    assert str(error.value).startswith(message)


def test_w1_1000_records_are_replayed_and_the_1001st_fails_the_load(toy_copy: Path, tmp_path: Path) -> None:
    more = Path(shutil.copytree(toy_copy, tmp_path / "2"))
    load(write_warmup(toy_copy, *[predict_log(["a"])] * 1000)).close()
    with pytest.raises(LoadError, match="holds more than 1000 requests"):
        load(write_warmup(more, *[predict_log(["a"])] * 1001))


def test_w1_a_warmup_file_that_is_cut_off_fails_the_load(toy_copy: Path) -> None:
    file = write_warmup(toy_copy, predict_log(["a"])) / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(LoadError, match="is not a TFRecord file after 0 requests"):
        load(toy_copy)
