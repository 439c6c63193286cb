"""The verdict on live traffic: fine, watch or retrain, and what makes it so."""

from __future__ import annotations

import math

import pytest
from bert_task import MonitoringConfig

from bert_pipeline.drift import Drift
from bert_pipeline.estimates import Estimate
from bert_pipeline.monitoring import verdict, weak_labels
from bert_pipeline.monitoring.verdict import Change, Level
from bert_pipeline.slice_metrics import SliceMetrics
from tests.bert_pipeline.logged_texts import LABELS


def change(before: float, now: float, *, count: int = 400, name: str = "") -> Change:
    def share(value: float) -> Estimate:
        return Estimate(value, math.sqrt(value * (1 - value) / count))

    return Change(name, count, share(now), share(before))


def level(
    *found: Change, drifts: tuple[Drift, ...] = (), agreeing: int = 10, config: MonitoringConfig
) -> Level:
    agreements = [weak_labels.Agreement("rules", 10, agreeing)]
    return verdict.judge(found, drifts=drifts, agreements=agreements, config=config).level


def test_a_sure_drop_means_retraining_a_small_one_watching_and_noise_nothing() -> None:
    config = MonitoringConfig(watch_drop=0.03, retrain_drop=0.08)
    assert level(change(0.9, 0.9), config=config) is Level.FINE
    assert level(change(0.9, 0.88), config=config) is Level.FINE  # within watch_drop
    assert level(change(0.9, 0.86), config=config) is Level.WATCH
    assert level(change(0.9, 0.7), config=config) is Level.RETRAIN
    assert level(change(0.9, 0.86, count=40), config=config) is Level.FINE  # noise
    assert level(change(0.9, 0.8, count=40), config=config) is Level.WATCH  # large, and may be noise
    assert level(change(0.9, 0.2, count=20), config=config) is Level.FINE  # under min_examples


def test_the_more_slices_are_looked_at_the_surer_a_drop_must_be() -> None:
    config, drop = MonitoringConfig(), change(0.9, 0.81, count=100, name="category=boots")
    others = [change(0.9, 0.9, name=f"category={i}") for i in range(20)]
    assert level(drop, config=config) is Level.RETRAIN
    assert level(drop, *others, config=config) is Level.WATCH


def test_a_slice_that_a_gate_names_is_not_drowned_by_the_others() -> None:
    drop = change(0.9, 0.81, count=100, name="category=boots")
    others = [change(0.9, 0.9, name=f"category={i}") for i in range(20)]

    def levels(gated: set[str]) -> Level:
        found = (*others, drop, change(0.9, 0.9))
        return verdict.judge(
            found, drifts=(), agreements=(), config=MonitoringConfig(confidence=0.9), gated=gated
        ).level

    assert levels({"category=boots"}) is Level.RETRAIN
    assert levels({"category=1", ""}) is Level.WATCH
    assert levels({"category"}) is Level.WATCH  # a gate on a column names no value


def test_drift_and_weak_labels_have_a_say() -> None:
    def drifted(*, is_breach: bool) -> Drift:
        return Drift("text_script", "L-infinity", 0.4, 0.3, not is_breach, is_breach, "text_script: ...")

    config = MonitoringConfig(min_agreement=0.8)
    assert level(drifts=(drifted(is_breach=False),), config=config) is Level.WATCH
    assert level(drifts=(drifted(is_breach=True),), config=config) is Level.RETRAIN
    assert level(agreeing=8, config=config) is Level.FINE
    assert level(agreeing=7, config=config) is Level.WATCH


def test_slices_are_put_beside_themselves_and_new_ones_are_told() -> None:
    def row(name: str, right: int, wrong: int) -> SliceMetrics:
        total = right + wrong
        columns = ("category",) if name else ()
        return SliceMetrics(name, columns, total, {"accuracy": right / total}, {}, ((right, wrong), (0, 0)))

    live = [row("", 60, 40), row("category=boots", 10, 30), row("category=clogs", 50, 10)]
    before = [row("", 180, 20), row("category=boots", 38, 2)]
    found = verdict.changes(live, before, metric="accuracy", labels=LABELS)
    assert [(c.slice, c.num_examples) for c in found] == [
        ("", 100), ("category=boots", 40), ("category=clogs", 60),
    ]  # fmt: skip
    assert found[1].drop == pytest.approx(0.7)
    assert found[1].std_error == pytest.approx(
        math.hypot(math.sqrt(0.25 * 0.75 / 40), math.sqrt(0.95 * 0.05 / 40))
    )
    judged = verdict.judge(found, drifts=(), agreements=(), config=MonitoringConfig())
    assert [reason.slice for reason in judged.reasons] == ["", "category=boots"]
    assert judged.notes == (
        "unknown to the evaluation at the push, so not compared: category=clogs (accuracy 0.833)",
    )
