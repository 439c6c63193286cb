"""Formats a lineage as text, JSON or a graph, and the models of a span as text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bert_pipeline.judging.sentences import in_table

if TYPE_CHECKING:
    from bert_pipeline.history.lineage import Lineage, Made, Picture

# Metrics in the table; `--format json` has all.
COLUMNS = ("accuracy", "macro_f1")
_SHORT_HASH = 12


def as_json(found: Lineage | Sequence[Lineage]) -> str:
    """The full lineage as a JSON object, or a list of them."""
    return json.dumps(found, indent=2, ensure_ascii=False, default=dataclasses.asdict)


def as_text(found: Lineage) -> str:
    """Summary, without the full settings."""
    return "\n".join([_title(found), *_facts(found), *_metrics(found)])


def _title(found: Lineage) -> str:
    if not found.version:
        return f"model {found.model.artifact} of {found.task}, {gone_versions(found)}"
    others = [v for v in found.versions if v != found.version]
    also = f", the same model as {', '.join(others)}" if others else ""
    state = "in service" if found.in_service else "not in service"
    return f"version {found.version} of {found.task}, {state}{also}"


def gone_versions(found: Lineage) -> str:
    """Describes a model without a current version."""
    removed = ", ".join(found.removed)
    return f"was version {removed}, removed since" if removed else "never pushed"


def _facts(found: Lineage) -> Iterator[str]:
    run = found.run
    if found.copy_of:
        yield _line("copy of", f"version {found.copy_of}, by rollback: {found.reason}")
    yield _line("model", f"{found.model.artifact}  {found.model.uri}{_gone(found.model)}")
    if run:
        yield _line("run", f"{run['number']}  ({run['name']})")
    yield _line("spans", _spans(found.examples))
    for example in found.examples:
        yield _line("", f"examples {example.artifact}  {example.uri}{_gone(example)}")
    yield _line("evaluated", f"on {_spans(found.evaluated_on)}")
    for name, artifacts in (
        ("schema", found.schema),
        ("transform", found.transform_graph),
        ("baseline", found.baseline),
        ("warm start", found.base_model),
    ):
        for artifact in artifacts:
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
    """The commit, with + if files changed since."""
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


def _metrics(found: Lineage) -> Iterator[str]:
    if not found.metrics:
        yield _line("metrics", "not recorded")
        return
    width = max(len(name) for name in found.metrics) + 2
    yield _line("metrics", f"{'':<{width}}" + "".join(f"{name:>10}" for name in COLUMNS))
    for name, values in found.metrics.items():
        cells = "".join(f"{in_table(values.get(column)):>10}" for column in COLUMNS)
        yield _line("", f"{name:<{width}}{cells}")


def as_mermaid(drawn: Picture) -> str:
    """A flowchart that GitHub and most editors show (https://mermaid.js.org/syntax/flowchart.html)."""
    lines = ["flowchart LR"]
    for name, text in drawn.boxes.items():
        quoted = "<br>".join(
            line.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;") for line in text
        )
        lines.append(f'  {name}["{quoted}"]')
    lines += [f'  {source} -- "{node}" --> {target}' for source, target, node in drawn.arrows]
    lines.append(f"  style {drawn.marked} stroke-width:3px")
    return "\n".join(lines)


def of_span(found: Sequence[Lineage], *, task: str, span: str) -> str:
    """The models that were trained on a span, one per line.

    Args:
        found: their lineages.
        task: its name.
        span: its name.
    """
    lines = [f"{len(found)} model{'s' * (len(found) != 1)} of {task} learned from span {span}"]
    for each in found:
        spans = ", ".join(example.span_name for example in each.examples)
        where = f"version {', '.join(each.versions)}" if each.versions else gone_versions(each)
        state = "  in service" if each.in_service else ""
        run = each.run.get("number", "?")
        lines.append(f"  model {each.model.artifact:<6} run {run:<4} spans {spans}  {where}{state}")
    return "\n".join(lines)
