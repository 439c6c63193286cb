"""What ExampleValidator tells of a split, without a run."""

from __future__ import annotations

from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from bert_pipeline.components.validation_report import Finding, Report
from bert_pipeline.data.text_features import statistics_of

SCHEMA = schema_pb2.Schema(feature=[schema_pb2.Feature(name="text", type=schema_pb2.BYTES)])


def report(tmp_path: Path, *, texts: list[bytes]) -> Report:
    (tmp_path / "t.toml").write_text('[data]\nfiles = { all = "rows.csv" }\n')
    (tmp_path / "t.pbtxt").write_text(str(SCHEMA))
    found = Report(task_file=tmp_path / "t.toml", schema_file=tmp_path / "t.pbtxt", limits={})
    anomalies = tfdv.validate_statistics(statistics_of({"text": texts}), SCHEMA)
    found.add_split("eval", findings=[Finding("text", "bad", "", "mend it")], anomalies=anomalies)
    return found


def test_a_split_without_examples_stops_the_run_before_training(tmp_path):
    assert report(tmp_path, texts=[]).problems == [
        "  split eval: it has no examples\n"
        f"    fix at {tmp_path}/t.toml:2 (data.files): give it rows, or a larger share of data.hash_buckets"
    ]


def test_a_split_with_examples_is_told_by_its_findings(tmp_path):
    assert report(tmp_path, texts=[b"one"]).problems == ["  split eval, column text: bad\n    fix: mend it"]
