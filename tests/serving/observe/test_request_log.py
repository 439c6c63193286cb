"""C2: a sample of requests and answers is kept, and nothing that goes wrong with it harms a request."""

from __future__ import annotations

import contextlib
import contextvars
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server import api
from serving.model_server.config.settings import ModelSettings
from serving.model_server.errors import ServingError
from serving.model_server.observe import request_log
from serving.model_server.observe.request_log import RequestLog
from tests.serving.calls import predict_request, prediction_stub, rest
from tests.serving.processes import RunningServer, wait_until
from tests.serving.request_logs import predict_log, read, settings


def test_c2_requests_are_kept_with_who_answered_and_when(tmp_path: Path, log: RequestLog) -> None:
    def answer() -> None:
        api.begin_request("order-17")
        log.offer("shoes", lambda: predict_log("They leak.", labels=("negative",)))

    contextvars.copy_context().run(answer)
    log.close()
    (kept,) = read(tmp_path)
    assert kept.predict_log.request.inputs["text"].string_val == [b"They leak."]
    assert kept.log_metadata.model_spec.version.value == 7
    assert kept.log_metadata.request_origin == "order-17"
    assert kept.log_metadata.sampling_config.sampling_rate == 1.0
    assert abs(kept.log_metadata.timestamp_secs - time.time()) < 60


def test_c2_only_configured_models_are_sampled_by_their_rate(tmp_path: Path) -> None:
    log = RequestLog()
    log.configure([settings(tmp_path / "requests", rate=0.25), ModelSettings("boots", "/models")])
    for _ in range(1000):
        log.offer("shoes", lambda: predict_log("x"))
        log.offer("boots", lambda: predict_log("y"))
    log.close()
    assert log.dropped == 0
    assert 170 < len(read(tmp_path)) < 330  # 250; five standard deviations are 68


def test_c2_requests_of_both_protocols_are_logged_and_are_whole_after_the_end(
    start_server: Callable[..., RunningServer], toy_path: Path, tmp_path: Path
) -> None:
    config = tmp_path / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{ name: "toy" base_path: "{toy_path.parent}" model_platform: "tensorflow"
        logging_config {{ sampling_config {{ sampling_rate: 1 }}
        log_collector_config {{ type: "tfrecord" filename_prefix: "{tmp_path / "requests"}" }} }} }} }}"""
    )
    server = start_server(f"--model_config_file={config}")
    assert rest(server, "/v1/models/toy:predict", {"instances": ["They leak.", "ok"]})[0] == 200
    assert rest(server, "/v1/models/toy:predict", {"instances": [1]})[0] == 400
    classify = {"signature_name": "classify", "examples": [{"x": 1.0}]}
    assert rest(server, "/v1/models/toy:classify", classify)[0] == 200
    with grpc.insecure_channel(server.grpc_address) as channel:
        _, call = prediction_stub(channel).Predict.with_call(
            predict_request("serving_default", text=["They pinch."]),
            metadata=[("x-request-id", "order-17")],
            timeout=60,
        )
    assert dict(call.trailing_metadata())["x-request-id"] == "order-17"
    server.process.terminate()
    assert server.process.wait(60) == 0
    over_rest, classified, over_grpc = read(tmp_path)
    for log, texts, labels in (
        (over_rest, [b"They leak.", b"ok"], [b"long", b"short"]),
        (over_grpc, [b"They pinch."], [b"long"]),
    ):
        assert log.predict_log.request.inputs["text"].string_val == texts
        assert log.predict_log.response.outputs["label"].string_val == labels
        assert log.log_metadata.model_spec.name == "toy"
        assert log.log_metadata.model_spec.version.value == 2
        assert log.log_metadata.model_spec.signature_name == "serving_default"
    assert over_grpc.log_metadata.request_origin == "order-17"
    made = {log.log_metadata.request_origin for log in (over_rest, classified)}
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)
    assert len(made) == 2
    assert len(classified.classify_log.request.input.example_list.examples) == 1
    assert not re.search("leak|pinch", server.log.read_text())


def test_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    log = RequestLog(max_waiting=5)
    log._configs = {"shoes": settings(tmp_path / "requests").logging}  # the writer is not started
    for _ in range(20):
        log.offer("shoes", lambda: predict_log("x"))
    assert log.dropped == 15


@contextlib.contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    """As on a full disk, the kernel refuses to write on."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_full_disk_loses_what_it_cannot_hold_tells_once_and_goes_on_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "_RETRY_SECONDS", 0.0)
    size = len(predict_log("0" * 1000).SerializeToString()) + 200  # with the metadata
    log = RequestLog()
    with no_file_larger_than(4 * size):
        log.configure([settings(tmp_path / "requests")])
        for _ in range(2):
            for number in range(6):
                log.offer("shoes", lambda number=number: predict_log(str(number) * 1000))
            wait_until(lambda before=log.dropped: log.dropped > before)
    log.offer("shoes", lambda: predict_log("later"))
    log.close()
    texts = [kept.predict_log.request.inputs["text"].string_val[0] for kept in read(tmp_path)]
    assert texts[-1] == b"later"
    assert 0 < log.dropped < 12
    assert len(texts) + log.dropped == 13  # none is lost that is not counted
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert re.match(r"requests are not logged, \d+ so far: .*File too large", told)


def test_request_that_cannot_be_written_down_harms_no_other_and_is_not_quoted(
    tmp_path: Path, log: RequestLog, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> prediction_log_pb2.PredictionLog:
        raise TypeError("They leak.")

    log.offer("shoes", fail)
    log.offer("shoes", lambda: predict_log("x"))
    log.close()
    assert (len(read(tmp_path)), log.dropped) == (1, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "requests are not logged, 1 so far: a TypeError while the record was made"
    ]


def test_end_of_the_server_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "_CLOSE_SECONDS", 0.1)
    disk = threading.Event()
    log = RequestLog(max_waiting=1)
    log.configure([settings(tmp_path / "requests")])
    log.offer("shoes", lambda: disk.wait(60) and predict_log("x"))  # type: ignore[func-returns-value]
    wait_until(lambda: log._queue.empty())
    log.offer("shoes", lambda: predict_log("y"))
    start = time.monotonic()
    log.close()
    assert time.monotonic() - start < 5
    disk.set()


def test_folder_that_cannot_be_made_refuses_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServingError, match=r"filename_prefix .*file/requests: .*give a path in a folder"):
        RequestLog().configure([settings(tmp_path / "file" / "requests")])
