"""Request logs are read: each text a row, and what is damaged is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from bert_pipeline.monitoring import request_logs
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.logged_texts import record, write


def test_each_text_of_a_call_is_a_row_with_an_id_of_its_own(tmp_path: Path) -> None:
    write(
        tmp_path / "a.tfrecord",
        record("x", ids="r1"),
        record("y", "z", ids="r2"),
        record("u", "v", ids="k,l"),
    )
    texts = request_logs.read_folder(tmp_path).texts
    assert [(t.id, t.columns["text"]) for t in texts] == [
        ("r1", b"x"), ("r2/0", b"y"), ("r2/1", b"z"), ("k", b"u"), ("l", b"v"),
    ]  # fmt: skip
    assert (texts[0].label, texts[0].probabilities) == ("good", {"bad": 0.25, "good": 0.75})
    assert (texts[0].model, texts[0].version, texts[0].second) == ("shoes", 7, 1_700_000_000)


def test_a_call_of_examples_brings_its_columns_along(tmp_path: Path) -> None:
    example = tf.train.Example()
    for name, value in (("text", b"x"), ("category", b"boots")):
        example.features.feature[name].bytes_list.value.append(value)
    log = prediction_log_pb2.PredictionLog.FromString(record("x", ids="r1"))
    log.predict_log.request.inputs.clear()
    log.predict_log.request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example.SerializeToString()]))
    write(tmp_path / "a.tfrecord", log.SerializeToString())
    [text] = request_logs.read_folder(tmp_path).texts
    assert text.columns == {"text": b"x", "category": b"boots"}


@pytest.mark.parametrize("cut", [3, 20])
def test_a_log_that_is_cut_is_read_up_to_there_and_told(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.tfrecord", record("x", ids="r1"), record("y", ids="r2"), record("z", ids="r3"))
    path.write_bytes(path.read_bytes()[:-cut])
    write(tmp_path / "b.tfrecord", record("u", ids="r4"))
    logs = request_logs.read_folder(tmp_path)
    assert [text.id for text in logs.texts] == ["r1", "r2", "r4"]
    assert logs.damage == ("a.tfrecord is damaged after its first 2 records; the rest of it is not read",)


def test_a_record_that_is_broken_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", record("x", ids="r1"), record("y", ids="r2"))
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(bytes(content))
    logs = request_logs.read_folder(tmp_path)
    assert [text.id for text in logs.texts] == ["r1"]
    assert len(logs.damage) == 1


def test_the_file_that_a_server_is_writing_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord.partial", record("x", ids="r1"), record("y", ids="r2"))
    path.write_bytes(path.read_bytes()[:-5])
    logs = request_logs.read_folder(tmp_path)
    assert ([text.id for text in logs.texts], logs.damage) == (["r1"], ())


def test_a_folder_without_a_log_says_how_one_comes_about(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no request log .* serve with `make serve LOG=1`"):
        request_logs.read_folder(tmp_path)
