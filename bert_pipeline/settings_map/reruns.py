"""The graph of a task as data, and which components a changed setting reruns: found by building the graph again."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bert_task
from tfx.dsl.components.base.base_node import BaseNode

from bert_pipeline import pipeline
from bert_pipeline.components import op_audit
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.running import label
from bert_pipeline.settings import config, sections
from bert_pipeline.settings.paths import run_paths
from bert_pipeline.settings_map.settings import Setting

# A task in which every part of the graph is there.
TASK = sections.TaskConfig(
    name="every",
    description="",
    data=bert_task.DataConfig(
        path="data", text=("text",), label="label", labels=("a", "b"), files={"all": "span-{SPAN}/rows.csv"}
    ),
    evaluation=sections.EvaluationConfig(
        slices=("part",), gates=(sections.GateConfig(metric="accuracy", min=0.5, max_drop=0.5),)
    ),
    bulk_inference=sections.BulkInferenceConfig(files="new/*.csv"),
    monitoring=sections.MonitoringConfig(weak_labels=(sections.WeakLabelConfig(pattern="x", label="a"),)),
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
    "evaluation.gates": (sections.GateConfig(metric="accuracy", min=0.6),),
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


@dataclasses.dataclass(frozen=True)
class Node:
    """One component."""

    id: str
    given: str
    """Its parameters and where its inputs come from; equal strings, equal cache keys (contents apart)."""

    files: tuple[str, ...]
    """Files of the project that implement it, user module included; none: all of it is TFX's."""

    kind: str
    """Name of its class."""


def graph_of(task: sections.TaskConfig) -> list[Node]:
    """What `make pipeline` builds of a task, in order; reads no data and no encoder.

    Args:
        task: its data need not exist. A `data.window` of more than one has one older span.
    """
    data, encoder = task.data, task.encoder
    files = f"{encoder.handle}/{encoder.computation}"  # of these two a conversion is made
    parts = pipeline.Parts(
        loaded=config.LoadedTask(task=task, path=Path("task.toml"), data_dir=Path("/") / data.path),
        encoder=Encoder(
            path=files,
            vocab_path=f"{files}/vocab.txt",
            lower_case=True,
            max_seq_length=512,
            source="",
            sha256=files,
        ),
        paths=run_paths(task.name, out="/out"),
        schema_pbtxt="",
        span=pipeline.SpanParts(span=data.span, older_examples=(1,) if data.window > 1 else ()),
    )
    return [_node(node) for node in pipeline.task_components(parts)]


def other_graphs(task: sections.TaskConfig) -> dict[str, list[Node]]:
    """The graphs of other verbs than `pipeline`, by the verb."""
    loaded = config.LoadedTask(task=task, path=Path("task.toml"), data_dir=Path("/data"))
    labelling = label.labelling_components(
        folder=Path("/texts"), pattern="*.csv", file_format="csv", push_destination=Path("/out")
    )
    return {
        "new-task": [_node(node) for node in pipeline.schema_inference(loaded, span=0)],
        "label": [_node(node) for node in labelling],
    }


def changed(before: Sequence[Node], after: Sequence[Node]) -> list[str]:
    """Ids of the components that are given something else, are new, or are gone; in the graph's order."""
    old, new = {n.id: n.given for n in before}, {n.id: n.given for n in after}
    order = [*new, *(name for name in old if name not in new)]
    return [name for name in order if old.get(name) != new.get(name)]


def _node(node: BaseNode) -> Node:
    inputs = {
        name: getattr(channel, "producer_component_id", None) or str(type(channel).__name__)
        for name, channel in node.inputs.items()
    }
    given = json.dumps([inputs, dict(node.exec_properties)], default=str, sort_keys=True)
    return Node(id=node.id, given=given, files=_files(node), kind=type(node).__name__)


def _files(node: BaseNode) -> tuple[str, ...]:
    """The project's files among those of the class, its executor, its strategy and its user module."""
    classes: list[Any] = [type(node), getattr(getattr(node, "executor_spec", None), "executor_class", None)]
    classes += [value for value in node.exec_properties.values() if inspect.isclass(value)]
    paths = [inspect.getsourcefile(inspect.unwrap(_of_function(cls))) for cls in classes if cls is not None]
    paths.append(node.exec_properties.get("module_file"))
    own = [Path(path).resolve() for path in paths if path]
    return tuple(
        dict.fromkeys(
            str(p.relative_to(config.PROJECT_ROOT))
            for p in own
            if p.is_relative_to(config.PROJECT_ROOT) and ".venv" not in p.parts
        )
    )


def _of_function(cls: Any) -> Any:
    """The function behind a function component, whose class TFX makes; else the class."""
    return getattr(cls, "_FUNCTION", cls)


def rerun_by(setting: Setting) -> list[str]:
    """Ids of the components that are given something else when a setting changes; what follows them reruns too.

    Args:
        setting: of `all_settings`.
    """
    other = _with(TASK, setting.key.split("."), _other_value(setting))
    return changed(graph_of(TASK), graph_of(other))


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
