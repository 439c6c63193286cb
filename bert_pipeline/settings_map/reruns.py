"""Which components a changed setting reruns: found by changing it and building the graph again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import bert_task

from bert_pipeline.components import op_audit
from bert_pipeline.settings_map import graphs
from bert_pipeline.settings_map.settings import Setting

# A task in which every part of the graph is there.
TASK = bert_task.TaskConfig(
    name="every",
    description="",
    data=bert_task.DataConfig(
        path="data", text=("text",), label="label", labels=("a", "b"), files={"all": "span-{SPAN}/rows.csv"}
    ),
    evaluation=bert_task.EvaluationConfig(
        slices=("part",), gates=(bert_task.GateConfig(metric="accuracy", min=0.5, max_drop=0.5),)
    ),
    bulk_inference=bert_task.BulkInferenceConfig(files="new/*.csv"),
    monitoring=bert_task.MonitoringConfig(weak_labels=(bert_task.WeakLabelConfig(pattern="x", label="a"),)),
)

# Where adding 1, or an x, would give no graph.
_OTHER_VALUES: Mapping[str, Any] = {
    "data.text": ("text", "text_b"),
    "data.format": "parquet",
    "data.files": {"train": "span-{SPAN}/train.csv", "eval": "span-{SPAN}/eval.csv"},
    "data.hash_buckets": {"train": 3, "eval": 2},
    "data.label_shares": {"a": 0.5, "b": 0.5},
    "data.labels": ("a", "b", "c"),
    "validation.drift_note": {"label": 0.5},
    "validation.drift_stop": {"label": 0.5},
    "validation.skew_note": {"text_num_tokens": 0.5},
    "validation.skew_stop": {"text_num_tokens": 0.5},
    "training.warm_start": "latest_blessed",
    "evaluation.slices": ("part", "shop"),
    "evaluation.gates": (bert_task.GateConfig(metric="accuracy", min=0.6),),
    "evaluation.gates[].metric": "macro_f1",
    "evaluation.gates[].slice": "part",
    "evaluation.gates[].max_gap": 0.2,
    "evaluation.costs": {"a": {"b": 2.0}},
    "evaluation.intervals": "none",
    "evaluation.coverage": False,
    "bulk_inference.files": "newer/*.csv",
    "bulk_inference.format": "parquet",
    "notices.on": ("pushed",),
    "notices.email_to": ("a@example.org",),
    "monitoring.weak_labels": (),
    # Another one that has an op list.
    "serving.tf_serving_version": next(
        known for known in op_audit.known_versions() if known != op_audit.release_to_audit("")
    ),
}


def rerun_by(setting: Setting) -> list[str]:
    """Ids of the components that are given something else when a setting changes; what follows them reruns too.

    Args:
        setting: of `all_settings`.
    """
    changed = _with(TASK, setting.key.split("."), _other_value(setting))
    return graphs.changed(graphs.graph_of(TASK), graphs.graph_of(changed))


def _other_value(setting: Setting) -> Any:
    if setting.key in _OTHER_VALUES:
        return _OTHER_VALUES[setting.key]
    now = _value(setting.key)
    if now is None:
        return 0.75
    if isinstance(now, bool):
        return not now
    return now + 1 if isinstance(now, int | float) else f"{now}x"


def _value(key: str) -> Any:
    value: Any = TASK
    for part in key.split("."):
        value = getattr(value, part.removesuffix("[]"))
        value = value[0] if part.endswith("[]") else value
    return value


def _with(holder: Any, parts: Iterable[str], value: Any) -> Any:
    """A copy of a dataclass in which the field at the end of a path has another value."""
    first, *rest = parts
    name = first.removesuffix("[]")
    if not rest:
        return dataclasses.replace(holder, **{name: value})
    inner = getattr(holder, name)
    if first.endswith("[]"):
        return dataclasses.replace(holder, **{name: (_with(inner[0], rest, value), *inner[1:])})
    return dataclasses.replace(holder, **{name: _with(inner, rest, value)})
