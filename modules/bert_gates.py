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


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Section [evaluation]: what is measured, on which slices, and what refuses a model."""

    slices: tuple[str, ...] = ()
    """Columns by whose values every metric is also reported; `a+b` crosses two columns."""

    gates: tuple[GateConfig, ...] = ()
    """Bounds; a model that breaks one is not blessed."""
