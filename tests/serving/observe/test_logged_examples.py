"""From request logs to tf.Examples: rows, columns, and the command that writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server.observe import logged_examples
from serving.model_server.observe.request_log import RequestLog
from tests.serving.request_logs import predict_log, whole_files


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
        ("text", "record 1 is not a PredictionLog"),
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
