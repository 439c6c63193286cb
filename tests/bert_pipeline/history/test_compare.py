"""Runs side by side: metrics over time and by slice, and what changed from one to the next."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from bert_pipeline.metadata import run_record
from tests.bert_pipeline.past import Past, recorded


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


def test_runs_stand_side_by_side_with_what_changed_between_them(past, capsys):
    _, one = past.run(span=1, weights="a", accuracy=0.9)
    past.run(span=2, weights="b", accuracy=0.7, epochs=5, push=False)
    _, three = past.run(span=2, weights="c", accuracy=0.95, epochs=5)
    assert past.verb("compare") == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["run", "1", "2", "3"]
    assert lines[2:5] == [
        ["outcome", "pushed", "refused", "pushed"],
        ["version", str(one), "-", str(three)],
        ["spans", "1", "2", "2"],
    ]
    assert ["accuracy,", "all", "data", "0.900", "0.700", "0.950"] in lines
    assert ["part=heel", "0.800", "0.600", "0.850"] in lines
    assert "run 1 -> 2\n  spans: 1 -> 2\n  training.epochs: 3 -> 5\nrun 2 -> 3\n  nothing changed\n" in text


def test_a_changed_gate_is_told_in_the_words_of_the_task_file(past, capsys):
    whole = {"metric": "accuracy", "slice": "", "min": 0.5, "max": None, "max_drop": 0.02, "min_examples": 0}
    heel = {"metric": "macro_f1", "slice": "part=heel", "min": 0.25, "max": None, "min_examples": 15}
    past.run(span=1, weights="a", gates=[whole])
    past.run(span=1, weights="b", gates=[whole | {"min": 0.625, "max_drop": None}, heel])
    past.run(span=1, weights="c", gates=[heel, whole | {"min": 0.625, "max_drop": None}])
    assert past.verb("compare") == 0
    text = capsys.readouterr().out
    assert text.partition("run 1 -> 2\n")[2] == (
        "  evaluation.gates (accuracy): max_drop: 0.02 -> not set\n"
        "  evaluation.gates (accuracy): min: 0.5 -> 0.625\n"
        "  evaluation.gates: with metric macro_f1, slice part=heel, min 0.25, min_examples 15\n"
        "run 2 -> 3\n"
        "  evaluation.gates: metric accuracy, min 0.625; metric macro_f1, slice part=heel, min 0.25, min_examples 15"
        " -> metric macro_f1, slice part=heel, min 0.25, min_examples 15; metric accuracy, min 0.625\n"
    )


def test_spans_by_date_stand_below_each_other(past, capsys):
    past.run(span=20270, weights="a", files="{YYYY}-{MM}-{DD}/rows.csv")
    past.run(span=20271, weights="b", files="{YYYY}-{MM}-{DD}/rows.csv")
    assert past.verb("compare") == 0
    text = capsys.readouterr().out
    assert [line.split() for line in text.splitlines()][4] == ["spans", "2025-07-01", "2025-07-02"]
    assert "  spans: 2025-07-01 -> 2025-07-02\n" in text


def test_runs_are_chosen_by_number_version_and_beginning_of_their_id(past, capsys):
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    past.run(span=3, weights="c", push=False)
    name = past.store.get_contexts_by_type("pipeline_run")[2].name
    for words, numbers in (
        ([str(two), "1"], [1, 2]),
        ([name], [3]),
        ([name[:-3], "3"], [3]),
        (["--last", "2"], [2, 3]),
    ):
        assert past.verb("compare", *words, "--format", "json") == 0
        assert [run["number"] for run in json.loads(capsys.readouterr().out)] == numbers


def test_order_is_that_of_the_runs_when_the_clock_goes_back(past, capsys, monkeypatch):
    class Frozen(run_record.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1999, 1, 1)

    past.run(span=1, weights="a")
    monkeypatch.setattr(run_record, "datetime", Frozen)
    past.run(span=2, weights="b")
    past.run(span=3, weights="c")
    past.verb("compare", "--format", "json")
    runs = json.loads(capsys.readouterr().out)
    assert [run["spans"] for run in runs] == [["1"], ["2"], ["3"]]
    assert [run["name"] for run in runs[1:]] == ["1999-01-01T00:00:00", "1999-01-01T00:00:00-2"]


def test_csv_has_one_row_a_run_slice_and_metric(past, capsys):
    past.run(span=1, weights="a", accuracy=0.5)
    past.verb("compare", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = {(row["run"], row["slice"], row["metric"]): row["value"] for row in rows}
    assert found["1", "all data", "accuracy"] == "0.5"
    assert found["1", "part=heel", "macro_f1"] == ""


def test_stopped_run_says_why(past, capsys):
    past.run(span=1, weights="a")
    with (
        pytest.raises(ValueError, match="full"),
        recorded(past.store, {run_record.CODE_SHA256: "c0de"}) as r,
    ):
        past.execute(r.run_id, "ExampleGen", {}, {"examples": "Examples"}, span=2)
        raise ValueError("the disk is full")
    past.verb("compare")
    text = capsys.readouterr().out
    assert "run 2 stopped: the disk is full" in text
    assert text.splitlines()[2].split() == ["outcome", "pushed", "stopped"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["9"], "'9' names no run of toy; the last runs: 1 ("),
        (["--last", "0"], "--last: '0' is not a whole number of at least 1"),
        (["--metrics", "acuracy"], "--metrics names 'acuracy'; the runs have accuracy, macro_f1"),
        (["20"], "2 runs begin with '20'; the last runs: 1 ("),
    ],
)
def test_unknown_runs_and_metrics_are_refused(past, capsys, words, message):
    past.run(span=1, weights="a")
    past.run(span=1, weights="b")
    assert past.verb("compare", *words) == 2
    assert message in capsys.readouterr().err
