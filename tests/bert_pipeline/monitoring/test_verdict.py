"""The verdict on live traffic: fine, watch or retrain, and what makes it so."""

from __future__ import annotations

import dataclasses
import math

import pytest

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.monitoring import verdict
from bert_pipeline.monitoring.verdict import Change, Level
from bert_pipeline.settings.sections import MonitoringConfig


def row(name: str, right: int, wrong: int) -> SliceMetrics:
    total = right + wrong
    columns = ("category",) if name else ()
    return SliceMetrics(name, columns, total, {"accuracy": right / total}, {}, ((right, wrong), (0, 0)))


def change(before: float, now: float, *, count: int = 400, name: str = "") -> Change:
    pair = [row(name, round(count * share), count - round(count * share)) for share in (now, before)]
    [found] = verdict.changes(pair[:1], pair[1:], metric="accuracy", labels=("right", "wrong"))
    return found


def level(*found: Change, config: MonitoringConfig) -> Level:
    return verdict.judge(found, drifts=(), agreements=(), config=config).level


def test_a_sure_drop_means_retraining_a_small_one_watching_and_noise_nothing() -> None:
    config = MonitoringConfig(watch_drop=0.03, retrain_drop=0.08)
    assert level(change(0.9, 0.9), config=config) is Level.FINE
    assert level(change(0.9, 0.88, count=20000), config=config) is Level.FINE  # within watch_drop
    assert level(change(0.9, 0.86, count=4000), config=config) is Level.WATCH
    assert level(change(0.9, 0.7), config=config) is Level.RETRAIN
    assert level(change(0.9, 0.86, count=40), config=config) is Level.FINE  # noise
    assert level(change(0.9, 0.8, count=40), config=config) is Level.FINE  # large, and noise
    assert level(change(0.9, 0.2, count=20), config=config) is Level.FINE  # under min_examples


def test_a_drop_that_may_be_as_large_as_retrain_drop_means_retraining() -> None:
    config = MonitoringConfig(watch_drop=0.03, retrain_drop=0.08)
    # 0.065 +- 0.03 (one-sided, 95 %) of 500 and 0.065 +- 0.010 of 4,000.
    assert level(change(0.9, 0.835, count=500), config=config) is Level.RETRAIN
    assert level(change(0.9, 0.835, count=4000), config=config) is Level.WATCH


def test_the_more_slices_are_looked_at_the_surer_a_drop_must_be() -> None:
    config, drop = MonitoringConfig(), change(0.9, 0.78, count=100, name="category=boots")
    others = [change(0.9, 0.9, name=f"category={i}") for i in range(20)]
    assert level(drop, config=config) is Level.RETRAIN
    assert level(drop, *others, config=config) is Level.FINE


def test_a_slice_that_a_gate_names_is_not_drowned_by_the_others() -> None:
    drop = change(0.9, 0.77, count=120, name="category=boots")
    others = [change(0.9, 0.9, name=f"category={i}") for i in range(20)]

    def levels(gated: set[str]) -> Level:
        found = (*others, drop, change(0.9, 0.9))
        return verdict.judge(
            found, drifts=(), agreements=(), config=MonitoringConfig(confidence=0.9), gated=gated
        ).level

    assert levels({"category=boots"}) is Level.RETRAIN
    assert levels({"category=1", ""}) is Level.FINE
    assert levels({"category"}) is Level.FINE  # a gate on a column names no value


def test_every_look_is_held_to_less_and_all_of_them_to_the_whole() -> None:
    shares = [verdict.look_share(look) for look in range(1, 10_000)]
    assert sum(shares) == pytest.approx(1, abs=1e-3) and shares[0] == pytest.approx(0.608, abs=1e-3)
    drop = change(0.9, 0.82, count=250)

    def at(look: int) -> Level:
        return verdict.judge([drop], drifts=(), agreements=(), config=MonitoringConfig(), look=look).level

    assert (at(1), at(30)) == (Level.RETRAIN, Level.FINE)


def test_a_drop_that_may_be_noise_and_what_would_be_seen_are_said() -> None:
    found = [change(0.9, 0.86, count=100)]
    notes = verdict.judge(found, drifts=(), agreements=(), config=MonitoringConfig(), look=2).notes
    assert notes == (
        "accuracy on all data is 0.040 below that at the push, which may be noise (p 0.2; an alarm needs 0.0068, "
        "look 2 at this version)",
        "a drop of 0.18 or more of accuracy on all data would have been seen (80 %)",
    )


def test_both_sides_of_a_slice_have_the_same_least_size() -> None:
    live, before = [row("category=a", 0, 40)], [row("category=a", 20, 0)]
    [found] = verdict.changes(live, before, metric="accuracy", labels=("right", "wrong"))
    judged = verdict.judge([found], drifts=(), agreements=(), config=MonitoringConfig(min_examples=30))
    assert judged.level is Level.FINE
    assert judged.notes == ("under 30 labelled texts, not judged: category=a (20 at the push)",)


def test_labels_that_changed_since_the_push_are_compared_by_name() -> None:
    before = dataclasses.replace(row("", 90, 10), labels=("right", "wrong"))
    table = ((0, 0, 0), (0, 70, 30), (0, 0, 0))
    live = SliceMetrics("", (), 100, {}, {}, table, labels=("new", "right", "wrong"))
    for metric, drop in (("accuracy", 0.2), ("recall/right", 0.2)):
        [found] = verdict.changes([live], [before], metric=metric, labels=("right",))
        assert found.drop == pytest.approx(drop) and found.p_value < 0.01
    [found] = verdict.changes([live], [before], metric="recall/new", labels=("right",))
    assert math.isnan(found.drop)


def test_slices_are_put_beside_themselves_and_new_ones_are_told() -> None:
    live = [row("", 60, 40), row("category=boots", 10, 30), row("category=clogs", 50, 10)]
    before = [row("", 180, 20), row("category=boots", 38, 2)]
    found = verdict.changes(live, before, metric="accuracy", labels=("right", "wrong"))
    assert [(c.slice, c.num_examples) for c in found] == [
        ("", 100), ("category=boots", 40), ("category=clogs", 60),
    ]  # fmt: skip
    assert found[1].drop == pytest.approx(0.7)
    assert (found[1].num_before, found[1].behind.value) == (40, pytest.approx(0.7))
    judged = verdict.judge(found, drifts=(), agreements=(), config=MonitoringConfig())
    assert [reason.slice for reason in judged.reasons] == ["", "category=boots"]
    assert judged.notes[:1] == (
        "unknown to the evaluation at the push, so not compared: category=clogs (accuracy 0.833)",
    )
