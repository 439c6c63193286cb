"""Section [evaluation] of a task file: what is measured, on which slices, and what refuses a model.

Part of `bert_task.py`, from which everybody imports it; standard library only, as there.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """One of [[evaluation.gates]]: a bound that a model must keep to be blessed."""

    metric: str
    """Name of a metric, as the summary prints it: accuracy, macro_f1, recall/negative, auc, ..."""

    slice: str = ""
    """Empty: all data; `category=boots`: that slice; `category`: each value of the column."""

    min: float | None = None
    """The metric must be at least this."""

    max: float | None = None
    """The metric must be at most this (for errors: loss, calibration_error)."""

    max_drop: float | None = None
    """The metric may lie at most this far (absolute) below the baseline's."""

    max_rise: float | None = None
    """The metric may lie at most this far (absolute) above the baseline's (for errors)."""

    min_gain: float | None = None
    """The metric must be better than the baseline's by at least this (absolute): higher, or lower for errors
    (loss, calibration_error, expected_cost)."""

    max_gap: float | None = None
    """With a column as `slice`: on no value of it may the metric be worse by more than this (absolute) than on
    the rest of the examples."""

    confidence: float | None = None
    """From 0.5 to under 1, one-sided: 1 - confidence is the chance that noise alone decides. `max_drop`, `max_rise`
    and `max_gap` refuse a change that is larger than they allow and that chance does not explain, all comparisons of
    the evaluation taken together; unset: 0.95. `min`, `max` and `min_gain` must be kept by the end of the interval
    that this confidence gives; unset: by the measured value."""

    min_examples: int = 0
    """Slices of fewer examples are not judged, and the summary says so."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Section [evaluation]: what is measured, on which slices, and what refuses a model."""

    slices: tuple[str, ...] = ()
    """Columns by whose values every metric is also reported; `a+b` crosses two columns."""

    gates: tuple[GateConfig, ...] = ()
    """Bounds; a model that breaks one is not blessed."""

    intervals: str = "on"
    """Whether the summary and the report show 95 % intervals of every metric on every slice: `on` or `none`."""

    costs: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    """What an answer costs: true label to answered label to cost. What is not named costs 0 where right and 1
    where wrong. Any entry adds the metric expected_cost, the mean cost of an example."""

    cost_unit: str = ""
    """Unit of the costs, for the summary."""

    coverage: bool = True
    """Whether each run also says where the eval split is thin, by slice."""
