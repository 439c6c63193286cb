"""Labels and context that come later are joined to the texts of the log by id."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tensorflow as tf

from bert_pipeline.monitoring import late_labels, live_evaluation
from bert_pipeline.settings import config
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.logged_texts import LABELS, logged


def labels_file(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_joined_by_id_and_what_does_not_fit_is_told(tmp_path: Path) -> None:
    path = labels_file(
        tmp_path,
        "id,label,category\nr1,bad,boots\nr2,great,boots\nr3,good,kids\nr3,good,kids\nr4,bad,\nr4,good,\nr9,bad,\n",
    )
    joined = late_labels.join([logged(f"r{i}") for i in range(1, 6)], path, label="stars", labels=LABELS)
    assert [(row.text.id, row.label) for row in joined.rows] == [
        ("r1", "bad"), ("r2", ""), ("r3", "good"), ("r4", ""), ("r5", ""),
    ]  # fmt: skip
    assert joined.rows[0].columns == {"category": "boots"}
    assert joined.told == (
        "2 of 5 logged texts have a label",
        "2 rows repeat an id; the last cell that is filled counts",
        "1 ids have different labels, for example 'r4'; they are left out",
        "1 labels that the task does not know are left out: 'great' (1)",
        "1 ids of the file are not in the log, for example 'r9'",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\nx1,bad\n", "no id of .* is in the request log: the file has 'x1', the log 'r1'"),
        ("key,label\nr1,bad\n", r"has no column id or request_id \(it has key, label\)"),
        ("id,label\n", "has no rows"),
        (
            "id,label\nr1,1\nr2,0\n",
            r"none of its 2 labels is one of the task's: column label has '1' \(1\), '0'",
        ),
        ("id,label\nr1,BAD\n", r"data\.labels .*; write them as the task has them"),
        ("id,label,more\nr1,bad\n", r"labels\.csv:2: 2 cells, but the header names 3 columns"),
        ("id,label\nr1,bad,more\n", r"labels\.csv:2: 3 cells, but the header names 2 columns"),
    ],
)
def test_a_file_of_labels_that_cannot_be_joined_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        late_labels.join([logged("r1")], labels_file(tmp_path, text), label="label", labels=LABELS)


def test_context_brings_columns_before_there_are_labels(tmp_path: Path) -> None:
    path = labels_file(tmp_path, "id,category,label\nr1,boots,bad\n")
    texts = late_labels.without_labels([logged("r1"), logged("r2")])
    joined = late_labels.with_context(texts, path)
    assert [(row.label, row.columns.get("category")) for row in joined.rows] == [("", "boots"), ("", None)]
    assert joined.told == ("the context of 1 of 2 logged texts is known",)


def test_labelled_texts_without_a_value_of_a_slice_are_counted_for_each_slice(tmp_path: Path) -> None:
    path = labels_file(tmp_path, "id,label,shop,region\nr1,bad,Bonn,\nr2,good,,\nr3,bad,Oslo,N\nr4,,,\n")
    with_region = dataclasses.replace(logged("r2"), columns={**logged("r2").columns, "region": b"S"})
    joined = late_labels.join(
        [logged("r1"), with_region, logged("r3"), logged("r4")], path, label="", labels=()
    )
    rows = [dataclasses.replace(row, label="bad") for row in joined.rows[:3]]
    assert rows[1].cell("region") == b"S"  # of the request
    assert late_labels.without_value(rows, slices=["shop", "region", "shop+region", "part"]) == [
        "1 of 3 labelled texts have no value of shop; they are in none of its slices",
        "1 of 3 labelled texts have no value of region; they are in none of its slices",
        "2 of 3 labelled texts have no value of shop+region; they are in none of its slices",
        "3 of 3 labelled texts have no value of part; they are in none of its slices",
    ]
    assert late_labels.without_value(rows[2:], slices=["shop"]) == []
    assert late_labels.without_value([], slices=["shop"]) == []


def test_a_label_that_is_filled_in_later_contradicts_nothing(tmp_path: Path) -> None:
    path = labels_file(tmp_path, "id,label,shop\nr1,,Bonn\nr1,bad,\nr2,good,Oslo\nr2,,Lyon\n,bad,Oslo\n")
    joined = late_labels.join([logged("r1"), logged("r2")], path, label="label", labels=LABELS)
    assert [(row.label, row.columns["shop"]) for row in joined.rows] == [("bad", "Bonn"), ("good", "Lyon")]
    assert joined.told == (
        "2 of 2 logged texts have a label",
        "1 rows have no id and are left out",
        "2 rows repeat an id; the last cell that is filled counts",
    )


def test_a_text_that_was_asked_again_under_its_id_counts_once(tmp_path: Path) -> None:
    path = labels_file(tmp_path, "id,label\nr1,bad\nr2,good\n")
    first, again, other = logged("r1"), logged("r1"), logged("r2")
    different = dataclasses.replace(logged("r2"), columns=dict.fromkeys(other.columns, b"another"))
    joined = late_labels.join([first, again, other, different], path, label="label", labels=LABELS)
    assert [row.label for row in joined.rows] == ["", "bad", "", ""]
    assert joined.told == (
        "1 of 4 logged texts have a label",
        "1 logged texts were asked again under their id; the last answer counts",
        "2 logged texts share their id with another text, for example 'r2'; no label is joined to them",
    )


def test_live_examples_hold_the_values_that_there_are(tmp_path: Path) -> None:
    """A slice's value of the file goes before that of the request; one that nobody knows is not there."""
    text = dataclasses.replace(
        logged("r1"), columns={**logged("r1").columns, "part": b"heel", "shop": b"Bonn"}
    )
    row = late_labels.LabelledText(text, "bad", {"shop": "Oslo", "region": ""})
    task = config.task_settings("toy")
    sliced = dataclasses.replace(task.evaluation, slices=("part+shop", "region", "channel"))
    live_evaluation.write_examples([row], folder=tmp_path, task=dataclasses.replace(task, evaluation=sliced))
    [record] = tf.data.TFRecordDataset(str(tmp_path / "live.tfrecord.gz"), "GZIP").as_numpy_iterator()
    found = tf.train.Example.FromString(record).features.feature
    assert {name: list(feature.bytes_list.value) for name, feature in found.items() if name != "text"} == {
        "label": [b"bad"], "part": [b"heel"], "shop": [b"Oslo"], "request_id": [b"r1"],
    }  # fmt: skip
