"""Which spans, schema, settings, encoder and code made a model, and which models a span made: found, and in words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ml_metadata import MetadataStore

from bert_pipeline.history.names import name_of_span, pushed_versions
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import Artifact, Execution, History
from bert_pipeline.serving_folder.served import COPY_OF, REASON, ServedVersion, model_of_version
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Trainer's input of a warm start: its own past is another story.
BASE_MODEL = "base_model"


@dataclasses.dataclass(frozen=True)
class Made:
    """One artifact that had a part in a model."""

    artifact: int
    """Id in ML Metadata."""
    uri: str
    by: str
    """The component that wrote it, and in which run: `Transform, run 2`."""
    span: int = 0
    """Of Examples, as TFX numbers it; 0: none."""
    span_name: str = ""
    """As a user writes it: `2`, or `2025-07-01`."""
    state: str = "LIVE"


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Where one model comes from and where it went."""

    task: str
    version: str
    """The version that was asked for, else the newest of the model; empty: never pushed."""
    versions: tuple[str, ...]
    """Every version of the served folder that is this model."""
    removed: tuple[str, ...]
    """Versions of it that were pushed and whose folders are gone."""
    in_service: bool
    copy_of: str
    """Version that this one is a copy of, after a rollback; empty: none."""
    reason: str
    """Of that rollback."""
    model: Made
    examples: tuple[Made, ...]
    """What was trained on, by span."""
    evaluated_on: tuple[Made, ...]
    schema: tuple[Made, ...]
    transform_graph: tuple[Made, ...]
    base_model: tuple[Made, ...]
    """What training started from; empty: the encoder alone."""
    baseline: tuple[Made, ...]
    """What it was compared with at its last evaluation."""
    run: dict[str, Any]
    """The run that trained it: number, name, settings, code, commit, encoder, hashes."""
    metrics: dict[str, Any]
    """`all data` and each slice to name to value; empty: not recorded."""


def lineage_of(
    history: History,
    store: MetadataStore,
    versions: Iterable[ServedVersion],
    *,
    model_id: int,
    version: ServedVersion | None,
) -> Lineage:
    """Collects everything about a model.

    Args:
        history: of the task.
        store: ML Metadata.
        versions: of the served folder, the lowest first.
        model_id: of `find_model`.
        version: of `find_model`; None: the newest version of that model, if there is one.
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
    """The last execution that judged the model, cached or not, and came to an end; `monitor` judges nothing.

    One whose evaluation was removed since is taken only where there is no other.
    """
    found = [
        e
        for e in history.consumers(model_id)
        if e.node == "Evaluator" and model_id in e.inputs.get("model", ()) and e.outputs.get("evaluation")
    ]
    there = [e for e in found if history.artifacts[e.outputs["evaluation"][-1]].state == "LIVE"]
    return next(reversed(there or found), None)


def _raw_examples(history: History, transformed: Iterable[int]) -> list[int]:
    """Examples that were read from the data, from which others were made."""
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
    """One artifact, with what wrote it."""
    artifact, producer = history.artifacts[artifact_id], history.producer(artifact_id)
    run = history.run_of(producer.id) if producer else None
    by = f"{producer.node}{f', run {run.number}' if run else ''}" if producer else "not recorded"
    span = _span(artifact)
    return Made(artifact_id, artifact.uri, by, span, name_of_span(history, span), artifact.state)


def _span(artifact: Artifact) -> int:
    """0: no Examples, or of data that comes in no spans."""
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
    """Ids of the models that were trained on a span, the oldest first.

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


# Metrics of the table; `--format json` has all of them.
COLUMNS = ("accuracy", "macro_f1")
_SHORT_HASH = 12


def as_json(lineage: Lineage) -> str:
    """Everything, as one JSON object."""
    return json.dumps(dataclasses.asdict(lineage), indent=2, ensure_ascii=False)


def as_text(lineage: Lineage) -> str:
    """Everything but the settings that nobody asks for first."""
    return "\n".join([_title(lineage), *_facts(lineage), *_metrics(lineage)])


def _title(lineage: Lineage) -> str:
    if not lineage.version:
        return f"model {lineage.model.artifact} of {lineage.task}, {gone_versions(lineage)}"
    others = [v for v in lineage.versions if v != lineage.version]
    also = f", the same model as {', '.join(others)}" if others else ""
    state = "in service" if lineage.in_service else "not in service"
    return f"version {lineage.version} of {lineage.task}, {state}{also}"


def gone_versions(lineage: Lineage) -> str:
    """What became of a model that has no version any more."""
    removed = ", ".join(lineage.removed)
    return f"was version {removed}, removed since" if removed else "never pushed"


def _facts(lineage: Lineage) -> Iterator[str]:
    run = lineage.run
    if lineage.copy_of:
        yield _line("copy of", f"version {lineage.copy_of}, by rollback: {lineage.reason}")
    yield _line("model", f"{lineage.model.artifact}  {lineage.model.uri}{_gone(lineage.model)}")
    if run:
        yield _line("run", f"{run['number']}  ({run['name']})")
    yield _line("spans", _spans(lineage.examples))
    for example in lineage.examples:
        yield _line("", f"examples {example.artifact}  {example.uri}{_gone(example)}")
    yield _line("evaluated", f"on {_spans(lineage.evaluated_on)}")
    for name, found in (
        ("schema", lineage.schema),
        ("transform", lineage.transform_graph),
        ("baseline", lineage.baseline),
        ("warm start", lineage.base_model),
    ):
        for artifact in found:
            hashed = _short(run.get("schema_sha256", "")) if name == "schema" else ""
            by = f"  ({artifact.by})" if name in ("baseline", "warm start") else ""
            yield _line(name, f"{artifact.artifact}  {artifact.uri}{hashed}{by}{_gone(artifact)}")
    if not run.get("settings"):
        yield _line("settings", "not recorded: the run is older than this record")
        return
    yield _line("encoder", f"{run.get('encoder', '?')}{_short(run.get('encoder_sha256', ''))}")
    yield _line("code", f"sha256 {run.get('code_sha256', '?')[:_SHORT_HASH]}{_commit(run.get('commit', ''))}")
    yield _line("task file", f"{run.get('task_file', '?')}, data {run.get('data_dir', '?')}")
    yield _line("settings", _settings(run["settings"]))


def _commit(commit: str) -> str:
    """The commit, with + where files were changed since."""
    return f", commit {commit[:_SHORT_HASH]}{'+' * commit.endswith('+')}" if commit else ""


def _line(name: str, text: str) -> str:
    return f"  {name:<11} {text}"


def _gone(made: Made) -> str:
    return "" if made.state == "LIVE" else f"  [{made.state.lower()}]"


def _short(sha256: str) -> str:
    return f"  sha256 {sha256[:_SHORT_HASH]}" if sha256 else ""


def _spans(examples: Sequence[Made]) -> str:
    spans = list(dict.fromkeys(e.span_name for e in examples if e.span_name))
    if not spans:
        return "data without spans" if examples else "nothing that is recorded"
    return f"span{'s' * (len(spans) > 1)} {', '.join(spans)}"


def _settings(settings: dict[str, Any]) -> str:
    shown = {k: v for k, v in settings.items() if k.partition(".")[0] in ("text", "training")}
    return ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(shown.items()))


def _metrics(lineage: Lineage) -> Iterator[str]:
    if not lineage.metrics:
        yield _line("metrics", "not recorded")
        return
    width = max(len(name) for name in lineage.metrics) + 2
    yield _line("metrics", f"{'':<{width}}" + "".join(f"{name:>10}" for name in COLUMNS))
    for name, values in lineage.metrics.items():
        cells = "".join(f"{number(values.get(column)):>10}" for column in COLUMNS)
        yield _line("", f"{name:<{width}}{cells}")


def number(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"
