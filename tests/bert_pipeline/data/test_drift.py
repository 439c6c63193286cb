"""Distances between two sets of statistics, and the limits that a task sets."""

from __future__ import annotations

import numpy as np
import pytest

from bert_pipeline.data import drift
from bert_pipeline.data.drift import Threshold, compare, thresholds
from bert_pipeline.data.text_features import statistics_of
from bert_pipeline.settings import config, sections
from bert_pipeline.settings.errors import UserError

LABEL = {"label": Threshold(note=0.1, stop=0.3)}


def labels(num_negative: int, num_positive: int):
    return statistics_of({"label": [b"negative"] * num_negative + [b"positive"] * num_positive})


def test_distance_of_categories_is_the_largest_change_of_a_share():
    [found] = compare(labels(700, 300), labels(500, 500), LABEL)
    assert (found.column, found.distance, found.threshold) == ("label", "L-infinity", 0.1)
    assert found.value == pytest.approx(0.2)
    assert (found.is_note, found.is_breach) == (True, False)
    assert found.explanation == (
        "label: L-infinity 0.200 (limit 0.1); 'positive' went from 50.0% to 30.0%, on 1,000 after 1,000"
    )


@pytest.mark.parametrize(
    ("num_negative", "note", "breach"), [(550, False, False), (700, True, False), (850, False, True)]
)
def test_a_note_is_less_than_a_breach(num_negative, note, breach):
    [found] = compare(labels(num_negative, 1000 - num_negative), labels(500, 500), LABEL)
    assert (found.is_note, found.is_breach) == (note, breach)


def test_what_chance_explains_is_told_by_nobody():
    """8 of 10 instead of a half, or 2, happens in one sample of nine."""
    [found] = compare(labels(8, 2), labels(500, 500), LABEL)
    assert found.value == pytest.approx(0.3)
    assert (found.is_note, found.is_breach) == (False, False)
    assert found.explanation == (
        "label: L-infinity 0.300 (limit 0.1); 'positive' went from 50.0% to 20.0%, on 10 after 1,000; so few tell no "
        "change of a share under 0.40 from chance"
    )


def test_a_share_that_grows_by_more_than_chance_is_told():
    limits = {"label": Threshold(note=0.05, stop=0.5)}
    # Men's dress shoes and the rest, span 2 and span 1 of the sample.
    [found] = compare(labels(87, 198), labels(152, 529), limits)
    assert found.value == pytest.approx(0.082, abs=0.001)
    assert found.is_note


def test_numbers_are_compared_by_their_distribution_and_outliers_blind_nobody():
    limits = {"n": Threshold(note=0.1, stop=0.3)}
    short = statistics_of({"n": [*([5, 6, 7, 8, 9] * 200), 100_000]})
    same = statistics_of({"n": [5, 6, 7, 8, 9] * 200})
    long = statistics_of({"n": [15, 16, 17, 18, 19] * 200})
    assert compare(same, short, limits)[0].value < 0.1
    [found] = compare(long, same, limits)
    assert found.is_breach
    assert found.distance == "Jensen-Shannon divergence"
    assert "its mean went from 7 to 17, its median from 7 to 17" in found.explanation


def test_columns_of_one_side_and_columns_of_ids_are_left_out():
    ids = [str(i).encode() for i in range(500)]
    limits = {name: Threshold(note=0.1, stop=0.3) for name in ("id", "label", "gone")}
    current = statistics_of({"id": ids, "label": [b"x"] * 500})
    reference = statistics_of({"id": ids, "label": [b"x"] * 500, "gone": [b"y"] * 500})
    assert [d.column for d in compare(current, reference, limits)] == ["label"]


def task(validation: dict) -> sections.TaskConfig:
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
    with pytest.raises(
        UserError, match=r"validation\.drift_stop\.stars is 1\.5; it must be less than or equal to 1"
    ):
        task({"drift_stop": {"stars": 1.5}})


@pytest.mark.parametrize("size", [10, 200, 10_000])
@pytest.mark.parametrize(
    "draw",
    [
        lambda generator, size: generator.integers(1, 6, size=size),
        lambda generator, size: generator.normal(size=size),
        lambda generator, size: generator.poisson(30, size=size),
    ],
)
def test_cumulative_shares_are_those_of_the_values(draw, size):
    values = draw(np.random.default_rng(size), size)
    [feature] = statistics_of({"n": values.tolist()}).datasets[0].features
    known = drift._cumulative(feature)
    assert known.size == size
    assert (known.minimum, known.edges[-1]) == pytest.approx((min(values), max(values)))
    shares = [float(np.mean(np.float32(values) <= np.float32(edge))) for edge in known.edges]
    assert known.shares == pytest.approx(
        shares, abs=0.02
    )  # TFDV's quantiles are approximate: 0.01 of the ranks
    assert len(known.edges) >= 4


def test_ten_rows_after_ten_thousand_of_one_source_tell_nothing():
    generator = np.random.default_rng(3)
    columns = {f"n{i}": generator.poisson(30, size=10_000).tolist() for i in range(5)}
    limits = dict.fromkeys(columns, Threshold(note=0.1, stop=0.4))
    reference = statistics_of(columns)
    found = compare(statistics_of({name: values[:10] for name, values in columns.items()}), reference, limits)
    assert min(d.value for d in found) > 0.1  # as if all had moved
    assert not any(d.is_note or d.is_breach for d in found)
    assert "on 10 after 10,000; so few tell no shift of under 49% of them from chance" in found[0].explanation


def test_so_many_that_a_limit_lies_beyond_chance_are_told_without_a_word_on_chance():
    [found] = compare(labels(550, 450), labels(500, 500), LABEL)
    assert found.explanation.endswith("went from 50.0% to 45.0%, on 1,000 after 1,000")


def some_columns(num_quiet: int, value: bytes = b"") -> dict[str, list[bytes]]:
    """A column of 6 `a` and 24 `b`, and others: of one value, or half and half."""
    quiet = [value] * 30 if value else [b"x", b"y"] * 15
    return {"moved": [b"a"] * 6 + [b"b"] * 24, **{f"quiet{i}": quiet for i in range(num_quiet)}}


def is_told(num_quiet: int, *, value: bytes = b"", quiet_limit: float = 0.1) -> bool:
    """Whether a column is told (of one alone its p-value is about 0.02) beside others that have not moved."""
    now, before = some_columns(num_quiet, value), some_columns(num_quiet, value)
    before["moved"] = [b"a"] * 15 + [b"b"] * 15
    limits = {name: Threshold(note=quiet_limit, stop=1.0) for name in now}
    limits["moved"] = Threshold(note=0.1, stop=1.0)
    [found] = (d for d in compare(statistics_of(now), statistics_of(before), limits) if d.column == "moved")
    return found.is_note


def test_each_column_that_could_move_makes_all_the_others_harder_to_tell():
    assert is_told(0)
    assert not is_told(4)


def test_columns_of_one_value_and_columns_without_a_limit_cost_nothing():
    assert is_told(4, value=b"same")
    assert is_told(4, quiet_limit=1.0)
