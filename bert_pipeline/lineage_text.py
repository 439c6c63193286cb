"""The lineage of a model in words, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from bert_pipeline.lineage import Lineage, Made

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
