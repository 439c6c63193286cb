"""C2: a sample of requests and answers, as TFRecords of PredictionLog."""

from __future__ import annotations

import contextlib
import contextvars
import re
import resource
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from serving import client_cli
from serving.model_server import log_files, logged_examples, request_ids, request_log
from serving.model_server.errors import ServingError
from serving.model_server.log_files import Rotation
from serving.model_server.model_settings import ModelSettings
from serving.model_server.request_log import RequestLog
from tests.serving.calls import predict_request, prediction_stub, rest
from tests.serving.processes import RunningServer, wait_until


def settings(prefix: Path, *, rate: float = 1.0, name: str = "shoes") -> ModelSettings:
    config = logging_config_pb2.LoggingConfig()
    config.sampling_config.sampling_rate = rate
    config.log_collector_config.type = "tfrecord"
    config.log_collector_config.filename_prefix = str(prefix)
    return ModelSettings(name, "/models", logging=config)


def predict_log(*texts: str, labels: tuple[str, ...] = ()) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([t.encode() for t in texts]))
    if labels:
        answer = tf.make_tensor_proto([name.encode() for name in labels])
        log.predict_log.response.outputs["label"].CopyFrom(answer)
    log.predict_log.response.model_spec.name = "shoes"
    log.predict_log.response.model_spec.version.value = 7
    return log


def whole_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("requests-*.tfrecord"))


def read(folder: Path) -> list[prediction_log_pb2.PredictionLog]:
    paths = [str(path) for path in whole_files(folder)]
    return [log for path in paths for log in logged_examples.read_logs(path)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RequestLog]:
    one = RequestLog()
    one.configure([settings(tmp_path / "requests")])
    yield one
    one.close()


def test_c2_requests_are_kept_with_who_answered_and_when(tmp_path: Path, log: RequestLog) -> None:
    def answer() -> None:
        request_ids.begin("order-17")
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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("order-17", "order-17"),
        ("x" * 7000, "x" * 7000),
        ("x" * 7001, None),
        ("two words", None),
        ("", None),
    ],
)
def test_id_of_the_client_is_taken_where_it_is_usable(
    server: RunningServer, given: str, told: str | None
) -> None:
    url = f"http://{server.rest_address}/v1/models/toy"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Request-Id": given})) as response:
        answered = response.headers["x-request-id"]
    assert answered == told if told else re.fullmatch(r"[0-9a-f]{32}", answered)


def test_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    log = RequestLog(max_waiting=5)
    log._configs = {"shoes": settings(tmp_path / "requests").logging}  # the writer is not started
    for _ in range(20):
        log.offer("shoes", lambda: predict_log("x"))
    assert log.dropped == 15


def test_files_are_rotated_and_hidden_while_they_are_written(tmp_path: Path) -> None:
    log = RequestLog(Rotation(max_bytes=1))
    log.configure([settings(tmp_path / "requests")])
    for number in range(3):
        log.offer("shoes", lambda number=number: predict_log(str(number)))
        wait_until(lambda number=number: len(whole_files(tmp_path)) > number)
    log.close()
    assert len(whole_files(tmp_path)) == 3
    assert [kept.predict_log.request.inputs["text"].string_val[0] for kept in read(tmp_path)] == [
        b"0",
        b"1",
        b"2",
    ]
    assert not list(tmp_path.glob("*.partial"))

    file = log_files.LogFile(str(tmp_path / "requests"))
    file.write(b"half")
    assert len(whole_files(tmp_path)) == 3
    file.complete()
    assert len(whole_files(tmp_path)) == 4


def test_file_of_a_killed_server_is_completed_with_its_whole_records(tmp_path: Path) -> None:
    left = tmp_path / "requests-20250101T000000Z-1-0.tfrecord.partial"
    with tf.io.TFRecordWriter(str(left)) as writer:
        for text in ("a", "b", "cut"):
            writer.write(predict_log(text).SerializeToString())
    left.write_bytes(left.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"cut after record 2"):
        list(logged_examples.read_logs(str(left)))
    log = RequestLog()
    log.configure([settings(tmp_path / "requests")])
    log.close()
    texts = [kept.predict_log.request.inputs["text"].string_val[0] for kept in read(tmp_path)]
    assert (texts, list(tmp_path.glob("*.partial"))) == ([b"a", b"b"], [])


def test_file_that_another_server_writes_is_left_alone(tmp_path: Path) -> None:
    file = log_files.LogFile(str(tmp_path / "requests"))
    file.write(predict_log("mine").SerializeToString())
    file.flush()
    log_files.recover(str(tmp_path / "requests"))
    assert whole_files(tmp_path) == []
    file.complete()
    assert len(read(tmp_path)) == 1


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


def test_rows_become_examples_with_label_id_and_version() -> None:
    log = predict_log("They leak.", "Great!", labels=("negative", "positive"))
    log.log_metadata.request_origin = "r1"
    log.log_metadata.model_spec.version.value = 7
    log.log_metadata.timestamp_secs = 1_700_000_000
    first, second = logged_examples.to_examples(log)
    assert first.features.feature["text"].bytes_list.value == [b"They leak."]
    assert first.features.feature["predicted_label"].bytes_list.value == [b"negative"]
    assert first.features.feature["model_version"].int64_list.value == [7]
    assert second.features.feature["request_id"].bytes_list.value == [b"r1/1"]
    assert second.features.feature["timestamp_secs"].int64_list.value == [1_700_000_000]
    assert logged_examples.to_examples(prediction_log_pb2.PredictionLog()) == []


def test_columns_become_features_of_their_own_kind() -> None:
    log = prediction_log_pb2.PredictionLog()
    inputs = log.predict_log.request.inputs
    inputs["text"].CopyFrom(tf.make_tensor_proto([b"a\0", b"\0"]))
    inputs["note"].CopyFrom(tf.make_tensor_proto([[b"x"], [b""]]))
    inputs["price"].CopyFrom(tf.make_tensor_proto([9.5, 20.0]))
    inputs["sizes"].CopyFrom(tf.make_tensor_proto([[41, 42], [43, 44]]))
    inputs["limit"].CopyFrom(tf.make_tensor_proto(3))
    features = logged_examples.to_examples(log)[1].features.feature
    first = logged_examples.to_examples(log)[0].features.feature
    assert (first["text"].bytes_list.value, features["text"].bytes_list.value) == ([b"a\0"], [b"\0"])
    assert (first["note"].bytes_list.value, features["note"].bytes_list.value) == ([b"x"], [b""])
    assert features["price"].float_list.value == [20.0]
    assert features["sizes"].int64_list.value == [43, 44]
    assert "limit" not in features


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"\0" * 30, "cut after record 0"),
        ("text", "record 1 is no PredictionLog"),
    ],
)
def test_command_says_which_log_is_wrong_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | str | None, message: str
) -> None:
    path, out = tmp_path / "log.tfrecord", tmp_path / "examples.tfrecord.gz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(b"\xff\xff")
    assert logged_examples.main([str(path), "--out", str(out)]) == 1
    assert f"{path}: {message}" in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_tfdv_reads_what_the_command_writes(tmp_path: Path, log: RequestLog) -> None:
    tfdv = pytest.importorskip("tensorflow_data_validation")
    for text in ("They leak.", "Great!", "Great!"):
        log.offer("shoes", lambda text=text: predict_log(text, labels=("positive",)))
    log.close()
    out = tmp_path / "examples.tfrecord.gz"
    assert logged_examples.main([*map(str, whole_files(tmp_path)), "--out", str(out)]) == 0
    statistics = tfdv.generate_statistics_from_tfrecord(str(out))
    by_name = {feature.path.step[0]: feature for feature in statistics.datasets[0].features}
    assert by_name["text"].string_stats.unique == 2
    assert by_name["predicted_label"].string_stats.common_stats.num_non_missing == 3


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_client_names_the_rows_of_a_file_for_the_log(
    start_server: Callable[..., RunningServer], toy_path: Path, tmp_path: Path, protocol: str
) -> None:
    prefix = tmp_path / "log" / "requests"
    server = start_server(
        "--model_name=toy", f"--model_base_path={toy_path.parent}", f"--request_log_prefix={prefix}"
    )
    rows = [f"order-{number},text {number}" for number in range(70)]
    (tmp_path / "in.csv").write_text("\n".join(["order,text", *rows]) + "\n")
    address = server.rest_address if protocol == "rest" else server.grpc_address
    flags = ["--model=toy", f"--address={address}", f"--protocol={protocol}", "--id_column=order"]
    assert client_cli.main([*flags, f"--file={tmp_path / 'in.csv'}", f"--out={tmp_path / 'out.csv'}"]) == 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    logs = read(tmp_path / "log")
    examples = [example for log in logs for example in logged_examples.to_examples(log)]
    ids = {
        example.features.feature["text"].bytes_list.value[0]: example.features.feature[
            "request_id"
        ].bytes_list.value[0]
        for example in examples
    }
    assert ids == {b"text %d" % number: b"order-%d" % number for number in range(70)}
    assert len(logs) == 3  # calls of 32 rows


def test_client_refuses_an_id_that_a_header_cannot_hold(
    server: RunningServer, tmp_path: Path, capsys
) -> None:
    (tmp_path / "in.csv").write_text('id,text\n"a,b",hi\n')
    flags = [
        "--model=toy",
        f"--address={server.rest_address}",
        "--id_column=id",
        f"--file={tmp_path / 'in.csv'}",
    ]
    assert client_cli.main(flags) == 1
    assert "the id 'a,b' is not printable ASCII without commas and spaces" in capsys.readouterr().err
