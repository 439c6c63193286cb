"""The table of a summary."""

from __future__ import annotations

import math

from bert_pipeline.evaluation.read import EvaluationReport, SliceMetrics, ends, metric_lines
from bert_pipeline.judging.intervals import Interval


def _row(name: str, count: int, half: float | None, *, baseline: float | None = None) -> SliceMetrics:
    values = {"accuracy": 0.8, "macro_f1": 0.7, "expected_cost": 1.25}
    known = {} if half is None else {key: Interval(v, v - half, v + half) for key, v in values.items()}
    before = {} if baseline is None else dict.fromkeys(values, baseline)
    return SliceMetrics(name, ("c",) if name else (), count, values, before, (), known)


def _report(*rows: SliceMetrics) -> EvaluationReport:
    overall, *slices = rows
    return EvaluationReport(
        overall, tuple(slices), True, bool(overall.baseline), (), (), behind=(), cost_unit="EUR"
    )


def test_intervals_stand_beside_their_values_and_the_baseline_in_brackets() -> None:
    lines = list(metric_lines(_report(_row("", 50, 0.042, baseline=0.75), _row("c=a", 1, math.nan))))

    assert lines == [
        "slice        examples   accuracy (baseline)   macro_f1 (baseline)  expected_cost EUR (baseline)",
        "all data           50  0.800 ±0.042 (0.750)  0.700 ±0.042 (0.750)          1.250 ±0.042 (0.750)",
        "c=a                 1              0.800 ±?              0.700 ±?                      1.250 ±?",
    ]


def test_without_intervals_the_values_stand_alone() -> None:
    lines = list(metric_lines(_report(_row("", 50, None))))

    assert (
        lines[1] == "all data           50                 0.800                 0.700                 1.250"
    )


def test_programs_get_the_ends_of_the_intervals() -> None:
    found = ends({"accuracy": Interval(0.5, 0.291, 0.709), "auc": Interval(0.5)})

    assert found == {"accuracy": (0.291, 0.709), "auc": None}
