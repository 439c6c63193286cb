"""Files of a request log: rotated, hidden while they are written, completed after a server was killed."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from serving.model_server.observe import logged_examples, request_log
from serving.model_server.observe.request_log import RequestLog, Rotation
from tests.serving.processes import wait_until
from tests.serving.request_logs import predict_log, read, settings, whole_files


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

    file = request_log.LogFile(str(tmp_path / "requests"))
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
    file = request_log.LogFile(str(tmp_path / "requests"))
    file.write(predict_log("mine").SerializeToString())
    file.flush()
    request_log.recover(str(tmp_path / "requests"))
    assert whole_files(tmp_path) == []
    file.complete()
    assert len(read(tmp_path)) == 1
