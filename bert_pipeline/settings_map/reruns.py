"""Which components a changed setting reruns: those whose cache key in TFX is another one in the graph built of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import cache_utils, inputs_utils
from tfx.types import standard_artifacts

from bert_pipeline import pipeline
from bert_pipeline.components import op_audit
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.running import label
from bert_pipeline.settings import config, sections
from bert_pipeline.settings.paths import run_paths
from bert_pipeline.settings_map.settings import Setting

# A task in which every part of the graph is there.
_VALUES: Mapping[str, Any] = {
    "name": "every",
    "description": "",
    "data": {
        "path": "data",
        "text": ["text"],
        "label": "label",
        "labels": ["a", "b"],
        "files": {"all": "span-{SPAN}/rows.csv"},
    },
    "evaluation": {
        "slices": ["part"],
        "gates": [{"metric": "accuracy", "slice": "part", "min": 0.5, "max_drop": 0.5}],
        "costs": {"a": {"b": 2}},
    },
    "bulk_inference": {"files": "new/*.csv"},
    "monitoring": {"weak_labels": [{"pattern": "x", "label": "a"}]},
    "notices": {"email_to": ["a@example.org"], "smtp_env": "MAIL"},
}
TASK = config.parse_task(_VALUES, source="every.toml")

# Where half of a number, or an x more, would not do.
_OTHER_VALUES: Mapping[str, Any] = {
    "data.text": ["text", "text_b"],
    "data.files": {"train": "span-{SPAN}/train.csv", "eval": "span-{SPAN}/eval.csv"},
    "data.hash_buckets": {"train": 3, "eval": 2},
    "data.label_shares": {"a": 0.5, "b": 0.5},
    "data.labels": ["a", "b", "c"],
    "validation.drift_note": {"label": 0.5},
    "validation.drift_stop": {"label": 0.5},
    "validation.skew_note": {"text_num_tokens": 0.5},
    "validation.skew_stop": {"text_num_tokens": 0.5},
    "evaluation.slices": ["part", "shop"],
    "evaluation.gates": [{"metric": "accuracy", "min": 0.6}],
    "evaluation.gates[].metric": "macro_f1",
    "evaluation.gates[].slice": "part=x",
    "evaluation.gates[].confidence": 0.9,
    "evaluation.costs": {"a": {"b": 3}},
    "monitoring.metric": "macro_f1",
    "monitoring.confidence": 0.9,
    "monitoring.weak_labels": [],
    "monitoring.weak_labels[].label": "b",
    "notices.on": ["pushed"],
    "notices.email_to": ["b@example.org"],
    "notices.email_from": "c@example.org",
    # Another one that has an op list.
    "serving.tf_serving_version": next(
        known for known in op_audit.known_versions() if known != op_audit.release_to_audit("")
    ),
}


def components_of(task: sections.TaskConfig) -> list[BaseNode]:
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
    return pipeline.task_components(parts)


def other_graphs(task: sections.TaskConfig) -> dict[str, list[BaseNode]]:
    """The graphs of other verbs than `pipeline`, by the verb."""
    loaded = config.LoadedTask(task=task, path=Path("task.toml"), data_dir=Path("/data"))
    labelling = label.labelling_components(
        folder=Path("/texts"), pattern="*.csv", file_format="csv", push_destination=Path("/out")
    )
    return {"new-task": pipeline.schema_inference(loaded, span=0), "label": labelling}


def cache_keys(components: Sequence[BaseNode], *, follow: bool = False) -> dict[str, str]:
    """The key by which TFX finds out whether a component has run already, by the component's id.

    Computed as its launcher does (tfx/orchestration/portable/launcher.py): the hash of the pipeline, the node, the
    executor, the parameters, and the inputs. A resolver has none, it runs each time.

    Args:
        components: a graph.
        follow: whether a component whose key is another one gives the next ones another input.
    """
    connection = metadata_store_pb2.ConnectionConfig()
    connection.fake_database.SetInParent()  # in memory
    graph = pipeline.create_pipeline(
        "every", components=components, pipeline_root=Path("/out"), metadata=connection
    )
    compiled = compiler.Compiler().compile(graph)
    deployment = runner_utils.extract_local_deployment_config(compiled)
    keys: dict[str, str] = {}
    with metadata.Metadata(connection) as store:
        for node in (each.pipeline_node for each in compiled.nodes):
            executor = runner_utils.extract_executor_spec(deployment, node.node_info.id)
            inputs: dict[str, list[Any]] = {}
            for name, spec in node.inputs.inputs.items():
                inputs[name] = [standard_artifacts.Examples() for _ in spec.channels]
                for artifact, channel in zip(inputs[name], spec.channels, strict=True):
                    producer = channel.producer_node_query.id
                    artifact.uri = f"{producer}/{keys.get(producer) if follow else ''}"
            context = cache_utils.get_cache_context(
                store,
                pipeline_node=node,
                pipeline_info=compiled.pipeline_info,
                executor_spec=executor,
                input_artifacts=inputs,
                parameters=inputs_utils.resolve_parameters(node.parameters),
            )
            keys[node.node_info.id] = context.name if executor else ""
    return {component.id: keys[component.id] for component in components}


def rerun_by(setting: Setting, *, follow: bool = False) -> list[str]:
    """Ids of the components that a changed setting reruns, turns on, or turns off; in the graph's order.

    Args:
        setting: of `all_settings`.
        follow: with those that rerun because an input of theirs was made again.
    """
    tasks = TASK, _changed(setting)
    before, after = (cache_keys(components_of(task), follow=follow) for task in tasks)
    return [name for name in {**after, **before} if before.get(name) != after.get(name)]


def _changed(setting: Setting) -> sections.TaskConfig:
    """The task with another value of a setting, as a task file would give it."""
    values = copy.deepcopy(dict(_VALUES))
    table, now = values, TASK
    *parents, last = setting.key.split(".")
    for part in parents:
        name = part.removesuffix("[]")
        table, now = table.setdefault(name, {}), getattr(now, name)
        if part.endswith("[]"):
            table, now = table[0], now[0]
    other = _OTHER_VALUES.get(setting.key)
    table[last] = _other_value(getattr(now, last), setting.choices) if other is None else other
    return config.parse_task(values, source="every.toml")


def _other_value(now: Any, choices: Sequence[str]) -> Any:
    if choices:
        return next(each for each in choices if each != now)
    if isinstance(now, bool):
        return not now
    if isinstance(now, str):
        return f"{now}x"
    return now + 1 if isinstance(now, int) else (now or 0.5) / 2
