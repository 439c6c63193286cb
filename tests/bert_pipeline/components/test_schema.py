"""The inferred schema is tightened by the task; an edited curated schema is a new one."""

from __future__ import annotations

import bert_task
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from bert_pipeline.components import schema
from bert_pipeline.data.text_features import statistics_of
from bert_pipeline.settings.errors import UserError

DATA = bert_task.DataConfig(path="", text=("text",), label="label", labels=("a", "b"), files={"all": "*"})

INFERRED = """
feature { name: "text" type: BYTES domain: "text" presence { min_count: 1 } value_count { min: 1 max: 1 } }
feature { name: "label" type: BYTES domain: "label" presence { min_fraction: 1.0 min_count: 1 } }
feature { name: "category" type: BYTES domain: "category" presence { min_fraction: 1.0 min_count: 1 } }
feature { name: "date" type: BYTES domain: "date" presence { min_fraction: 1.0 min_count: 1 } }
string_domain { name: "text" value: "some text of a user" }
string_domain { name: "label" value: "a" }
string_domain { name: "category" value: "boots" value: "kids" }
string_domain { name: "date" value: "2025-01-01" value: "2025-01-02" }
"""


def tightened() -> dict[str, schema_pb2.Feature]:
    result = schema.tighten(text_format.Parse(INFERRED, schema_pb2.Schema()), data=DATA)
    return {feature.name: feature for feature in result.feature}


def test_texts_are_free_and_must_be_there():
    text = tightened()["text"]
    assert text.WhichOneof("domain_info") is None
    assert (text.presence.min_fraction, text.shape.dim[0].size) == (1.0, 1)


def test_labels_are_those_of_the_task_and_not_those_seen():
    assert list(tightened()["label"].string_domain.value) == ["a", "b"]


def test_small_closed_sets_stay_and_dates_do_not():
    features = tightened()
    assert features["category"].domain == "category"
    assert features["date"].WhichOneof("domain_info") is None


def test_no_text_of_a_user_is_kept_in_the_schema():
    result = schema.tighten(text_format.Parse(INFERRED, schema_pb2.Schema()), data=DATA)
    assert [domain.name for domain in result.string_domain] == ["category"]


def test_column_that_the_data_lacks_is_named_with_those_it_has():
    inferred = text_format.Parse('feature { name: "body" type: BYTES }', schema_pb2.Schema())
    with pytest.raises(UserError, match="data.text: the data has no column 'text'; it has body"):
        schema.tighten(inferred, data=DATA)


def test_broken_curated_schema_is_named(tmp_path):
    path = tmp_path / "demo.schema.pbtxt"
    path.write_text("feature { nam: 1 }")
    with pytest.raises(UserError, match=r"demo\.schema\.pbtxt: not a schema: 1:11"):
        schema.read_curated_schema(path)


def test_label_may_be_missing_in_service_and_in_service_only():
    result = schema.tighten(text_format.Parse(INFERRED, schema_pb2.Schema()), data=DATA)
    assert list(result.default_environment) == ["TRAINING", "SERVING"]
    assert list(tightened()["label"].not_in_environment) == ["SERVING"]
    unlabelled = statistics_of({"text": [b"x"], "category": [b"boots"], "date": [b"2025-01-01"]})
    found = [
        set(tfdv.validate_statistics(unlabelled, result, environment=name).anomaly_info)
        for name in ("TRAINING", "SERVING")
    ]
    assert found == [{"label"}, set()]


def test_tightening_again_changes_nothing():
    once = schema.tighten(text_format.Parse(INFERRED, schema_pb2.Schema()), data=DATA)
    assert schema.tighten(once, data=DATA) == once
