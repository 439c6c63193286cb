"""The table of metrics by slice for people, and its intervals for programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import tensorflow_model_analysis as tfma

from bert_pipeline.evaluation.slices import SliceMetrics as SliceMetrics
from bert_pipeline.evaluation.slices import read_slices
from bert_pipeline.judging.gates import read_verdict
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.settings import metric_names, sections
from bert_pipeline.settings.checks import BOUNDS, gates_of


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """An evaluation as shown in the summary of a run."""

    overall: SliceMetrics
    slices: tuple[SliceMetrics, ...]
    """In the order of `evaluation.slices`, then by value."""

    blessed: bool
    has_baseline: bool
    refusals: tuple[str, ...]
    """One sentence per broken bound; empty if blessed."""

    notes: tuple[str, ...]
    """Gates that were not checked, with the reason, and changes within noise."""

    behind: tuple[str, ...] = ()
    """The worst slices of each comparison between slices (`max_gap`)."""

    held: tuple[str, ...] = ()
    """One sentence per bound that held, with the smallest change it could have detected."""

    cost_unit: str = ""
    """Unit of expected_cost."""


def read_report(evaluation_uri: str, *, task: sections.TaskConfig) -> EvaluationReport:
    """Reads the Evaluator's output.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        task: the task that was evaluated.
    """
    validation = tfma.load_validation_result(evaluation_uri)
    found = read_slices(evaluation_uri, labels=task.data.labels)
    verdict = read_verdict(evaluation_uri)
    by_name = {slice_metrics.slice: slice_metrics for slice_metrics in found}
    overall = by_name.pop("", SliceMetrics("", (), 0, {}, {}, ()))
    has_baseline = bool(overall.baseline)
    order = [_columns(spec) for spec in task.evaluation.slices]
    slices = sorted(by_name.values(), key=lambda s: (order.index(s.columns), s.slice))
    return EvaluationReport(
        overall=overall,
        slices=tuple(slices),
        blessed=validation.validation_ok and not verdict.refusals,
        has_baseline=has_baseline,
        refusals=verdict.refusals,
        notes=(
            *_notes(task, slices=slices, has_baseline=has_baseline),
            *_without_value(task.evaluation.slices, overall=overall, slices=slices),
            *verdict.notes,
        ),
        behind=verdict.behind,
        held=verdict.held,
        cost_unit=task.evaluation.cost_unit,
    )


def _columns(spec: str) -> tuple[str, ...]:
    """Columns of an entry of `evaluation.slices`, in TFMA's order."""
    return tuple(sorted(spec.split("+")))


def _notes(task: sections.TaskConfig, *, slices: list[SliceMetrics], has_baseline: bool) -> Iterator[str]:
    gates = gates_of(task)
    if not task.evaluation.gates:
        yield f"the task names no gates; the default ones hold: {'; '.join(map(_gate_text, gates))}"
    compared = ("max_drop", "max_rise", "min_gain")
    changes = [gate for gate in gates if any(getattr(gate, name) is not None for name in compared)]
    if changes and not has_baseline:
        yield (
            "no other model that ML Metadata knows was in service before this one; bounds not checked: "
            + "; ".join(_gate_text(gate, compared) for gate in changes)
        )
    seen = {slice_metrics.columns for slice_metrics in slices}
    for spec in task.evaluation.slices:
        if _columns(spec) not in seen:
            yield f"evaluation.slices names {spec!r}, and no evaluated example has it; nothing is reported by it"


def _without_value(
    specs: Sequence[str], *, overall: SliceMetrics, slices: Sequence[SliceMetrics]
) -> Iterator[str]:
    """Examples without a value in a slice column; TFMA counts them in all data only."""
    for spec in specs:
        counts = [row.num_examples for row in slices if row.columns == _columns(spec)]
        missing = overall.num_examples - sum(counts)
        if counts and missing > 0:
            yield (
                f"{missing:,} of {overall.num_examples:,} evaluated examples have no value of {spec}; they are in none "
                "of its slices"
            )


def _gate_text(gate: sections.GateConfig, names: Sequence[str] = (*BOUNDS, "confidence")) -> str:
    bounds = [(name, getattr(gate, name)) for name in names]
    texts = [f"{name} {bound:g}" for name, bound in bounds if bound is not None]
    return f"{gate.metric} on {gate.slice or 'all data'}: {', '.join(texts)}"


# Metrics in the table, plus expected_cost if the task has costs; summary.json has all metrics.
_COLUMNS = (metric_names.ACCURACY, metric_names.MACRO_F1, metric_names.EXPECTED_COST)


def metric_lines(evaluation: EvaluationReport) -> Iterator[str]:
    """One line per slice: examples, then each metric as `0.800 ±0.057 (0.790)`.

    The number after ± is half the width of the 95 % interval; the baseline's value is in brackets.
    """
    rows = [evaluation.overall, *evaluation.slices]
    columns = [
        name for name in _COLUMNS if name in evaluation.overall.metrics or name != metric_names.EXPECTED_COST
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
    unit = f" {evaluation.cost_unit}" if name == metric_names.EXPECTED_COST and evaluation.cost_unit else ""
    return f"{name}{unit}" + (" (baseline)" if evaluation.has_baseline else "")


def _cell(row: SliceMetrics, name: str, *, has_intervals: bool) -> str:
    text = f"{row.metrics.get(name, math.nan):.3f}"
    if has_intervals:
        known = row.intervals.get(name, Interval(math.nan))
        text += f" ±{known.half_width:.3f}" if known.is_known else " ±?"
    return f"{text} ({row.baseline[name]:.3f})" if name in row.baseline else text


def ends(found: Mapping[str, Interval]) -> dict[str, tuple[float, float] | None]:
    """Metric to the ends of its 95 % interval; None if unknown."""
    return {
        name: (known.low, known.high) if known.is_known else None for name, known in sorted(found.items())
    }
