"""What the values of section [evaluation] may be, beyond their types."""

from __future__ import annotations

import difflib
import math
import re

import bert_task

from bert_pipeline import scores
from bert_pipeline.errors import UserError

BOUNDS = ("min", "max", "max_drop", "max_rise", "min_gain", "max_gap")

# Whether intervals are shown: on or none. The others are what an older version of this called `on`.
_INTERVALS = ("on", "none", "jackknife", "bootstrap")

# How far over 1/num_labels a task without gates wants macro_f1: three standard errors of an accuracy of one half
# over 1,000 examples (sqrt(0.25 / 1000) = 0.016).
_DEFAULT_MARGIN = 0.05


def gates_of(task: bert_task.TaskConfig) -> tuple[bert_task.GateConfig, ...]:
    """The gates of a task; where it names none, the default ones.

    The defaults: macro_f1 clearly above 1/num_labels, which a model that answers one label only cannot pass (its F1 is
    at most 1 for that label and 0 for the rest), and accuracy at most 0.02 below the baseline's.
    """
    if task.evaluation.gates:
        return task.evaluation.gates
    floor = round(1 / len(task.data.labels) + _DEFAULT_MARGIN, 4)
    return (
        bert_task.GateConfig(metric=scores.MACRO_F1, min=floor),
        bert_task.GateConfig(metric=scores.ACCURACY, max_drop=0.02),
    )


def check_evaluation(task: bert_task.TaskConfig) -> None:
    """Refuses values that make no sense.

    Raises:
        UserError: names the key, the value and the fix.
    """
    evaluation = task.evaluation
    if evaluation.intervals not in _INTERVALS:
        raise UserError(f"evaluation.intervals is {evaluation.intervals!r}; it must be on or none")
    _check_costs(task)
    for i, gate in enumerate(evaluation.gates):
        key = f"evaluation.gates[{i}]"
        if all(getattr(gate, name) is None for name in BOUNDS):
            raise UserError(
                f"{key} ({gate.metric}) has no bound and can refuse nothing; "
                f"give {', '.join(BOUNDS[:-1])} or {BOUNDS[-1]}"
            )
        column, equals, value = gate.slice.partition("=")
        crossed = re.match(r"[^+=]*\+([^+=]+)=", value)
        both = [
            name for name in evaluation.slices if crossed and set(name.split("+")) == {column, crossed[1]}
        ]
        if equals and both:
            raise UserError(
                f"{key}.slice is {gate.slice!r}, one value of two columns crossed, which no gate can bound; give "
                f"{both[0]!r}, which bounds each of their values, or one column's value such as "
                f"{column + '=' + value.split('+')[0]!r}"
            )
        if column and column not in evaluation.slices:
            raise UserError(
                f"{key}.slice is {gate.slice!r}, but {column!r} is not in evaluation.slices "
                f"{list(evaluation.slices)}; add it there"
            )
        _check_bounds(gate, key=key)
        _check_comparison(gate, key=key, is_column=bool(column) and not equals)
        _check_confidence(gate, key=key)


# Metrics that lie between 0 and 1; all others have no upper end.
_SHARES = ("accuracy", "macro_f1", "auc", "calibration_error")


def _check_bounds(gate: bert_task.GateConfig, *, key: str) -> None:
    """Refuses NaN, infinities, and bounds that no value can reach or break."""
    is_share = gate.metric in _SHARES or gate.metric.startswith(("precision/", "recall/"))
    for name in BOUNDS:
        bound = getattr(gate, name)
        if bound is None:
            continue
        if not math.isfinite(bound):
            raise UserError(f"{key}.{name} is {bound}; it must be a finite number")
        if name not in ("min", "max") and bound < 0:
            raise UserError(f"{key}.{name} is {bound:g}; a distance is 0 or more")
        if is_share and not 0 <= bound <= 1:
            raise UserError(
                f"{key}.{name} is {bound:g}, and {gate.metric} lies from 0 to 1; no model could hold it"
            )


def _check_comparison(gate: bert_task.GateConfig, *, key: str, is_column: bool) -> None:
    if gate.max_gap is not None and not is_column:
        raise UserError(
            f"{key}.max_gap compares the values of a column, and {key}.slice is {gate.slice!r}; name a column"
        )
    if gate.max_gap is not None and gate.metric == scores.EXAMPLE_COUNT:
        raise UserError(
            f"{key}.max_gap cannot compare example_count, a number of examples; name another metric"
        )
    if gate.min_examples < 0 or (gate.min_examples and not gate.slice):
        raise UserError(
            f"{key}.min_examples is {gate.min_examples} and its slice {gate.slice!r}; "
            "it must be 0 or more, and needs a slice"
        )


def _check_confidence(gate: bert_task.GateConfig, *, key: str) -> None:
    if gate.confidence is None:
        return
    if not 0.5 <= gate.confidence < 1:
        raise UserError(f"{key}.confidence is {gate.confidence:g}; it must be from 0.5 to under 1, as 0.95")


def _check_costs(task: bert_task.TaskConfig) -> None:
    labels = task.data.labels
    for actual, row in task.evaluation.costs.items():
        for label, key in [
            (actual, f"evaluation.costs.{actual}"),
            *((answered, f"evaluation.costs.{actual}.{answered}") for answered in row),
        ]:
            if label not in labels:
                close = difflib.get_close_matches(label, labels, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise UserError(f"{key}: {label!r} is not in data.labels; {hint}Known: {', '.join(labels)}")
        for answered, cost in row.items():
            if not math.isfinite(cost):
                raise UserError(f"evaluation.costs.{actual}.{answered} is {cost}; it must be a finite number")
    if task.evaluation.cost_unit and not task.evaluation.costs:
        raise UserError(
            f"evaluation.cost_unit is {task.evaluation.cost_unit!r}, and no answer has a cost; "
            "add a table [evaluation.costs]"
        )
