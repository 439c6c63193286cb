"""The spans, schema, settings, encoder and code behind a model, the models trained on a span, and a graph of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from ml_metadata import MetadataStore

from bert_pipeline.data.spans import parse_span
from bert_pipeline.history import lineage_text
from bert_pipeline.history.names import find_model, name_of_span, pushed_versions
from bert_pipeline.history.task_store import task_store
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import Artifact, Execution, History, read_history
from bert_pipeline.serving_folder.served import (
    COPY_OF,
    REASON,
    ServedVersion,
    model_of_version,
    served_versions,
)
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.requests import PastRequest

# Trainer's input of a warm start: its own ancestors are not followed.
BASE_MODEL = "base_model"
# A graph shows a baseline and a base model without their ancestors.
_STOP = frozenset({BASE_MODEL, "baseline_model"})


@dataclasses.dataclass(frozen=True)
class Made:
    """One artifact that contributed to a model."""

    artifact: int
    """Id in ML Metadata."""
    uri: str
    by: str
    """The component and the run that wrote it: `Transform, run 2`."""
    span: int = 0
    """Span of Examples as numbered by TFX; 0 if none."""
    span_name: str = ""
    """The span as written by the user: `2`, or `2025-07-01`."""
    state: str = "LIVE"


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The origin of one model, and its versions."""

    task: str
    version: str
    """The requested version, or the model's newest; empty if never pushed."""
    versions: tuple[str, ...]
    """All versions of this model in the served folder."""
    removed: tuple[str, ...]
    """Pushed versions of it whose folders were removed."""
    in_service: bool
    copy_of: str
    """The version that a rollback copied to this one; empty if none."""
    reason: str
    """Reason of that rollback."""
    model: Made
    examples: tuple[Made, ...]
    """Training data by span."""
    evaluated_on: tuple[Made, ...]
    schema: tuple[Made, ...]
    transform_graph: tuple[Made, ...]
    base_model: tuple[Made, ...]
    """The base model of a warm start; empty if trained from the encoder."""
    baseline: tuple[Made, ...]
    """The baseline of its last evaluation."""
    run: dict[str, Any]
    """The run that trained it: number, name, settings, code, commit, encoder, hashes."""
    metrics: dict[str, Any]
    """`all data` and each slice to name to value; empty if not recorded."""


def lineage_of(
    history: History,
    store: MetadataStore,
    versions: Iterable[ServedVersion],
    *,
    model_id: int,
    version: ServedVersion | None,
) -> Lineage:
    """Collects the lineage of a model.

    Args:
        history: of the task.
        store: ML Metadata.
        versions: of the served folder, lowest first.
        model_id: of `find_model`.
        version: of `find_model`; None for the model's newest version, if any.
    """
    served = list(versions)
    same = [v for v in served if model_of_version(store, v) == model_id]
    shown = version or (same[-1] if same else None)
    trainer = history.producer(model_id)
    examples = _raw_examples(history, trainer.inputs.get("examples", ()) if trainer else ())
    evaluator = last_evaluator(history, model_id)
    provenance = shown.provenance if shown else {}
    pushed = [version for version, model in pushed_versions(history).items() if model == model_id]
    return Lineage(
        task=history.task,
        version=shown.folder.name if shown else "",
        versions=tuple(v.folder.name for v in same),
        removed=tuple(v for v in pushed if v not in {s.folder.name for s in same}),
        in_service=bool(served) and shown == served[-1],
        copy_of=provenance.get(COPY_OF, ""),
        reason=provenance.get(REASON, ""),
        model=made(history, model_id),
        examples=_all(history, examples),
        evaluated_on=_all(history, evaluator.inputs.get("examples", ()) if evaluator else ()),
        schema=_all(history, trainer.inputs.get("schema", ()) if trainer else ()),
        transform_graph=_all(history, trainer.inputs.get("transform_graph", ()) if trainer else ()),
        base_model=_all(history, trainer.inputs.get(BASE_MODEL, ()) if trainer else ()),
        baseline=_all(history, evaluator.inputs.get("baseline_model", ()) if evaluator else ()),
        run=_run_facts(history, trainer),
        metrics=metrics_of(history, evaluator),
    )


def last_evaluator(history: History, model_id: int) -> Execution | None:
    """The last completed execution that evaluated the model, cached or not; excludes `monitor`.

    Uses one whose evaluation was removed only if there is no other.
    """
    found = [
        e
        for e in history.consumers(model_id)
        if e.node == "Evaluator" and model_id in e.inputs.get("model", ()) and e.outputs.get("evaluation")
    ]
    there = [e for e in found if history.artifacts[e.outputs["evaluation"][-1]].state == "LIVE"]
    return next(reversed(there or found), None)


def _raw_examples(history: History, transformed: Iterable[int]) -> list[int]:
    """Examples that were read from the data, not derived from others."""
    found = {a for artifact_id in transformed for a in history.ancestors(artifact_id)}
    raw = []
    for artifact_id in sorted(found):
        producer = history.producer(artifact_id)
        is_raw = producer is None or not producer.inputs
        if is_raw and history.artifacts[artifact_id].type == "Examples":
            raw.append(artifact_id)
    return raw


def _all(history: History, ids: Iterable[int]) -> tuple[Made, ...]:
    found = [made(history, artifact_id) for artifact_id in ids]
    return tuple(sorted(found, key=lambda m: (m.span, m.artifact)))


def made(history: History, artifact_id: int) -> Made:
    """One artifact and its producer."""
    artifact, producer = history.artifacts[artifact_id], history.producer(artifact_id)
    run = history.run_of(producer.id) if producer else None
    by = f"{producer.node}{f', run {run.number}' if run else ''}" if producer else "not recorded"
    span = _span(artifact)
    return Made(artifact_id, artifact.uri, by, span, name_of_span(history, span), artifact.state)


def _span(artifact: Artifact) -> int:
    """0 if not Examples, or if the data has no spans."""
    return int(artifact.properties.get("span") or 0) if artifact.type == "Examples" else 0


def _run_facts(history: History, trainer: Execution | None) -> dict[str, Any]:
    run = history.run_of(trainer.id) if trainer else None
    if run is None:
        return {}
    left_out = (run_record.SETTINGS, run_record.SUMMARY)
    facts: dict[str, Any] = {k: v for k, v in run.properties.items() if k not in left_out}
    return {
        "number": run.number,
        "name": run.name,
        **facts,
        "settings": run_record.settings_of(run.properties),
    }


def metrics_of(history: History, evaluator: Execution | None) -> dict[str, Any]:
    """Metrics by slice, from the summary of the last run that has this evaluation."""
    if evaluator is None:
        return {}
    evaluations = set(evaluator.outputs.get("evaluation", ()))
    for run in reversed(history.runs):
        executions = (history.executions[i] for i in run.executions)
        if any(evaluations & set(e.outputs.get("evaluation", ())) for e in executions):
            found = run_record.metrics_of(run.properties)
            if found:
                return found
    return {}


def models_of_span(history: History, span: int) -> list[int]:
    """Ids of the models that were trained on a span, oldest first.

    Raises:
        UserError: no run has read that span.
    """
    spans = {a.id for a in history.of_type("Examples") if _span(a) == span}
    if not spans:
        known = sorted({s for a in history.of_type("Examples") if (s := _span(a))})
        names = ", ".join(name_of_span(history, s) for s in known)
        raise UserError(
            f"{typed.name('span')} is {name_of_span(history, span)}, and no run of {history.task} has read it; "
            f"spans read: {names}"
        )
    found = []
    for model in history.of_type("Model"):
        trainer = history.producer(model.id)
        if trainer and spans & set(_raw_examples(history, trainer.inputs.get("examples", ()))):
            found.append(model.id)
    return found


@dataclasses.dataclass(frozen=True)
class Picture:
    """Boxes and arrows."""

    boxes: dict[str, tuple[str, ...]]
    """Box name to lines of text."""
    marked: str
    """The box of the model itself."""
    arrows: tuple[tuple[str, str, str], ...]
    """Source, target, and the component between them; in a stable order."""


def picture(history: History, *, model_id: int, served: dict[int, ServedVersion]) -> Picture:
    """Graph of a model's ancestors and descendants.

    Args:
        history: of the task.
        model_id: the model.
        served: PushedModel id to version, for versions whose folder exists.
    """
    shown = history.ancestors(model_id, stop=_STOP)
    arrows: dict[tuple[str, str, str], None] = {}
    past = [history.producer(artifact_id) for artifact_id in sorted(shown)]
    # Only visited artifacts: the producer of a baseline or a base model is not drawn.
    steps = [e for e in past if e and all(i in shown for i in _ids(e))]
    steps += [
        e
        for e in history.consumers(model_id)
        if e.state == "COMPLETE" and model_id in e.inputs.get("model", ())
    ]
    for execution in steps:
        for source in _ids(execution):
            for target in sorted(i for ids in execution.outputs.values() for i in ids):
                if target in shown or model_id in execution.inputs.get("model", ()):
                    arrows[_box(source), _box(target), execution.node] = None
                    shown |= {source, target}
    boxes = {_box(i): tuple(_box_lines(history, history.artifacts[i], served.get(i))) for i in sorted(shown)}
    return Picture(boxes, _box(model_id), tuple(arrows))


def served_pushes(history: History, versions: Iterable[ServedVersion]) -> dict[int, ServedVersion]:
    """PushedModel id to version of the served folder, for `picture`."""
    by_name = {version.folder.name: version for version in versions}
    pushes = {a.id: str(a.properties.get("pushed_version")) for a in history.of_type("PushedModel")}
    return {push: by_name[name] for push, name in pushes.items() if name in by_name}


def _ids(execution: Execution) -> list[int]:
    return sorted(i for ids in execution.inputs.values() for i in ids)


def _box(artifact_id: int) -> str:
    return f"a{artifact_id}"


def _box_lines(history: History, artifact: Artifact, version: ServedVersion | None) -> Iterator[str]:
    yield f"{artifact.type} {artifact.id}"
    if artifact.type == "Examples" and (span := int(artifact.properties.get("span") or 0)):
        yield f"span {name_of_span(history, span)}"
    if artifact.type in ("ModelBlessing", "InfraBlessing"):
        yield "blessed" if artifact.properties.get("blessed") == 1 else "not blessed"
    if artifact.type == "PushedModel":
        pushed = artifact.properties.get("pushed") == 1
        yield f"version {artifact.properties.get('pushed_version')}" if pushed else "not pushed"
        if pushed and version is None:
            yield "removed"
    if artifact.state != "LIVE":
        yield artifact.state.lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PastRequest):
    """Arguments of the verb `lineage`."""

    model: str
    """A version or a model; empty for the model in service."""

    of_span: str | None
    """A span as typed by the user, to list the models trained on it."""

    format: str
    """text, json or mermaid."""


def run(request: Request) -> int:
    """Prints the lineage; returns 0.

    Raises:
        UserError: no such model or span, or nothing is recorded.
    """
    store, paths = task_store(request)
    history = read_history(store, task=paths.task_name)
    versions = served_versions(paths.push_destination)
    if request.of_span is not None:
        span = parse_span(request.of_span)
        models = models_of_span(history, span)
        lineages = [lineage_of(history, store, versions, model_id=model, version=None) for model in models]
        print(
            lineage_text.as_json(lineages)
            if request.format == "json"
            else lineage_text.of_span(lineages, task=history.task, span=name_of_span(history, span))
        )
        return 0
    model_id, version = find_model(history, store, versions, request.model)
    if request.format == "mermaid":
        served = served_pushes(history, versions)
        print(lineage_text.as_mermaid(picture(history, model_id=model_id, served=served)))
        return 0
    found = lineage_of(history, store, versions, model_id=model_id, version=version)
    print(lineage_text.as_json(found) if request.format == "json" else lineage_text.as_text(found))
    return 0
