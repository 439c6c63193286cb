"""The table of metrics by slice, for people, and its intervals, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from bert_pipeline import scores
from bert_pipeline.evaluation_report import EvaluationReport, SliceMetrics
from bert_pipeline.judging.intervals import Interval

# Metrics of the table, expected_cost where the task has costs; all of them are in summary.json.
_COLUMNS = (scores.ACCURACY, scores.MACRO_F1, scores.EXPECTED_COST)


def metric_lines(evaluation: EvaluationReport) -> Iterator[str]:
    """One line a slice: examples, then each metric as `0.800 ±0.057 (0.790)`.

    The figure after the sign is half of the 95 % interval, in brackets stands the baseline's value.
    """
    rows = [evaluation.overall, *evaluation.slices]
    columns = [
        name for name in _COLUMNS if name in evaluation.overall.metrics or name != scores.EXPECTED_COST
    ]
    has_intervals = any(row.intervals for row in rows)
    heads = {name: _head(name, evaluation) for name in columns}
    widths = {name: max(22, len(head) + 2) for name, head in heads.items()}
    width = max(12, *(len(row.slice) + 2 for row in rows))
    yield f"{'slice':<{width}}{'examples':>9}" + "".join(f"{heads[name]:>{widths[name]}}" for name in columns)
    for row in rows:
        cells = (_cell(row, name, has_intervals=has_intervals) for name in columns)
        texts = "".join(f"{cell:>{widths[name]}}" for cell, name in zip(cells, columns, strict=True))
        yield f"{row.slice or 'all data':<{width}}{row.num_examples:>9}{texts}"


def _head(name: str, evaluation: EvaluationReport) -> str:
    unit = f" {evaluation.cost_unit}" if name == scores.EXPECTED_COST and evaluation.cost_unit else ""
    return f"{name}{unit}" + (" (baseline)" if evaluation.has_baseline else "")


def _cell(row: SliceMetrics, name: str, *, has_intervals: bool) -> str:
    text = f"{row.metrics.get(name, math.nan):.3f}"
    if has_intervals:
        known = row.intervals.get(name, Interval(math.nan))
        text += f" ±{known.half_width:.3f}" if known.is_known else " ±?"
    return f"{text} ({row.baseline[name]:.3f})" if name in row.baseline else text


def ends(found: Mapping[str, Interval]) -> dict[str, tuple[float, float] | None]:
    """Metric to the ends of its 95 % interval; None where it is not known."""
    return {
        name: (known.low, known.high) if known.is_known else None for name, known in sorted(found.items())
    }
