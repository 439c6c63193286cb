"""Distances between two sets of statistics, and the limits that a task sets."""

from __future__ import annotations

import bert_task
import pytest

from bert_pipeline import config
from bert_pipeline.drift import compare
from bert_pipeline.drift_limits import Threshold, thresholds
from bert_pipeline.errors import UserError
from bert_pipeline.text_statistics import statistics_of

LABEL = {"label": Threshold(note=0.1, stop=0.3)}


def labels(num_negative: int, num_positive: int):
    return statistics_of({"label": [b"negative"] * num_negative + [b"positive"] * num_positive})


def test_distance_of_categories_is_the_largest_change_of_a_share():
    [drift] = compare(labels(700, 300), labels(500, 500), LABEL)
    assert (drift.column, drift.distance, drift.threshold) == ("label", "L-infinity", 0.1)
    assert drift.value == pytest.approx(0.2)
    assert (drift.is_note, drift.is_breach) == (True, False)
    assert drift.explanation == ("label: L-infinity 0.200 (limit 0.1); 'positive' went from 50.0% to 30.0%")


@pytest.mark.parametrize(
    ("num_negative", "note", "breach"), [(550, False, False), (700, True, False), (850, False, True)]
)
def test_a_note_is_less_than_a_breach(num_negative, note, breach):
    [drift] = compare(labels(num_negative, 1000 - num_negative), labels(500, 500), LABEL)
    assert (drift.is_note, drift.is_breach) == (note, breach)


def test_what_chance_explains_is_told_by_nobody():
    """7 of 10 instead of a half happens in one sample of six."""
    [drift] = compare(labels(9, 1), labels(500, 500), LABEL)
    assert drift.value == pytest.approx(0.4)
    assert (drift.is_note, drift.is_breach) == (False, False)


def test_a_share_that_grows_by_more_than_chance_is_told():
    limits = {"label": Threshold(note=0.05, stop=0.5)}
    # Men's dress shoes and the rest, span 2 and span 1 of the sample.
    [drift] = compare(labels(87, 198), labels(152, 529), limits)
    assert drift.value == pytest.approx(0.082, abs=0.001)
    assert drift.is_note


def test_numbers_are_compared_by_their_distribution_and_outliers_blind_nobody():
    limits = {"n": Threshold(note=0.1, stop=0.3)}
    short = statistics_of({"n": [*([5, 6, 7, 8, 9] * 200), 100_000]})
    same = statistics_of({"n": [5, 6, 7, 8, 9] * 200})
    long = statistics_of({"n": [15, 16, 17, 18, 19] * 200})
    assert compare(same, short, limits)[0].value < 0.1
    [drift] = compare(long, same, limits)
    assert drift.is_breach
    assert drift.distance == "Jensen-Shannon divergence"
    assert "its mean went from 7 to 17, its median from 7 to 17" in drift.explanation


def test_columns_of_one_side_and_columns_of_ids_are_left_out():
    ids = [str(i).encode() for i in range(500)]
    limits = {name: Threshold(note=0.1, stop=0.3) for name in ("id", "label", "gone")}
    current = statistics_of({"id": ids, "label": [b"x"] * 500})
    reference = statistics_of({"id": ids, "label": [b"x"] * 500, "gone": [b"y"] * 500})
    assert [drift.column for drift in compare(current, reference, limits)] == ["label"]


def task(validation: dict) -> bert_task.TaskConfig:
    values = {
        "name": "t",
        "description": "t",
        "data": {
            "path": ".",
            "text": ["text"],
            "label": "stars",
            "labels": ["a", "b"],
            "files": {"train": "a", "eval": "b"},
        },
        "evaluation": {"slices": ["region+shop"]},
        "validation": validation,
    }
    return config.parse_task(values, source="t.toml")


def test_limits_of_the_task_lie_over_the_defaults():
    limits = thresholds(task({"drift_stop": {"stars": 0.05, "country": 0.2}}), kind="drift")
    assert limits["stars"] == Threshold(note=0.05, stop=0.05)  # a note is never above a stop
    assert limits["country"] == Threshold(note=0.2, stop=0.2)
    assert limits["region"] == limits["shop"] == Threshold(note=0.1, stop=1.0)
    assert limits["text_script"] == Threshold(note=0.05, stop=0.3)


def test_drift_and_skew_have_limits_of_their_own():
    both = task({"drift_note": {"stars": 0.2}, "skew_note": {"stars": 0.3}})
    assert thresholds(both, kind="drift")["stars"].note == 0.2
    assert thresholds(both, kind="skew")["stars"].note == 0.3


def test_a_limit_that_is_no_distance_is_named():
    with pytest.raises(UserError, match=r"validation\.drift_stop\.stars is 1\.5; a distance lies from 0"):
        task({"drift_stop": {"stars": 1.5}})
