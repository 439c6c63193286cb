"""Section [validation] -> the limits of each column's distance, drift or skew, with the project's defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import bert_task

from bert_pipeline import text_features as derived


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Limits of one column's distance, 0 to 1; 1 is never passed."""

    note: float
    """Above it the change is worth a note."""

    stop: float
    """Above it the run stops before training (drift), or the model should be trained anew (skew)."""


# Our own choice. The two halves of a thousand rows of one source lie within 0.05 of each other in every column;
# a tenth of the texts in another script, or cut, is a change that somebody made; a third is another source.
DEFAULTS = {
    derived.NUM_TOKENS: Threshold(note=0.1, stop=0.4),
    derived.UNKNOWN_SHARE: Threshold(note=0.1, stop=0.4),
    derived.TRUNCATED: Threshold(note=0.1, stop=0.4),
    derived.SCRIPT: Threshold(note=0.05, stop=0.3),
    derived.EMPTY: Threshold(note=0.02, stop=0.1),
    derived.DUPLICATE: Threshold(note=0.1, stop=0.4),
}
LABEL_DEFAULT = Threshold(note=0.1, stop=0.4)
# A slice that grows is worth knowing and nothing to stop for.
SLICE_DEFAULT = Threshold(note=0.1, stop=1.0)
_NEVER = Threshold(note=1.0, stop=1.0)


def thresholds(task: bert_task.TaskConfig, *, kind: str) -> dict[str, Threshold]:
    """The limits of a task.

    Args:
        task: its sections [validation], [data] (the label's name) and [evaluation] (the slices) are read.
        kind: `drift` (span to span) or `skew` (training to serving).

    Returns:
        Column to limits: the defaults, and over them what the task sets. A note's limit is never above
        that of a stop.
    """
    validation = task.validation
    notes, stops = {
        "drift": (validation.drift_note, validation.drift_stop),
        "skew": (validation.skew_note, validation.skew_stop),
    }[kind]
    slices = {name for columns in task.evaluation.slices for name in columns.split("+")}
    limits = dict.fromkeys(slices, SLICE_DEFAULT) | {task.data.label: LABEL_DEFAULT} | DEFAULTS
    for column in (*notes, *stops):
        default = limits.get(column, _NEVER)
        stop = stops.get(column, default.stop)
        limits[column] = Threshold(note=notes.get(column, min(default.note, stop)), stop=stop)
    return dict(sorted(limits.items()))


def as_json(limits: Mapping[str, Threshold]) -> dict[str, tuple[float, float]]:
    """Column to [note, stop], for a component's parameters; `Threshold(*pair)` reads it."""
    return {column: (limit.note, limit.stop) for column, limit in limits.items()}
