"""The model card: a model's description, intended use, metrics and limitations.

Mitchell et al. 2019, "Model Cards for Model Reporting", under the headings of Hugging Face's cards
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2

from bert_pipeline.components.coverage import COVERAGE_FILE, read_report, sentences
from bert_pipeline.encoders.known_encoders import KNOWN_ENCODERS
from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging.intervals import SHOWN_CONFIDENCE
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_record import chosen_on, read_record
from bert_pipeline.report.data import Texts, read_texts
from bert_pipeline.report.evaluation import slice_title
from bert_pipeline.report.page import count, environment, number, share
from bert_pipeline.report.source import Source
from bert_pipeline.report.training import versions
from bert_pipeline.settings import metric_names, typed
from bert_pipeline.settings.sections import ReportConfig

_COLUMNS = (metric_names.ACCURACY, metric_names.MACRO_F1, metric_names.EXPECTED_COST)
_STATES = {
    "pushed": "pushed as version {version}",
    "refused": "refused: it was never in service",
    "in service already": "in service as version {version}",
}
_NOT_SAID = "Not stated. Say it in the task file: `report.{}`."


def as_markdown(source: Source, slices: Sequence[SliceMetrics]) -> str:
    """The card of a run's model.

    Args:
        source: of a run that wrote its summary.
        slices: of the evaluation, all data first.
    """
    settings, summary = source.settings, source.summary
    header, *rows = _metrics(slices)
    report = ReportConfig(**settings.get("report", {}))  # older runs have none
    text = _template().render(
        task=source.history.task,
        settings=settings,
        intended_use=report.intended_use or _NOT_SAID.format("intended_use"),
        data_license=report.data_license or _NOT_SAID.format("data_license"),
        state=_STATES.get(source.outcome, source.outcome).format(version=summary.get("version", "")),
        encoder=_encoder(source),
        data=[_data_row(texts) for texts in read_texts(source)],
        spans=_spans(summary),
        epoch=_epoch(source),
        header=header,
        rows=rows,
        confidence=f"{SHOWN_CONFIDENCE:.0%}",
        num_evaluated=slices[0].num_examples,
        limits=list(_limits(source)),
        facts=list(_lineage(source)),
        call=_call(source),
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _template() -> jinja2.Template:
    templates = environment()
    templates.filters["cell"] = cell
    return templates.get_template("model_card.md.j2")


def cell(text: str) -> str:
    r"""Escapes a value for a cell of a Markdown table, or for a sentence.

    Example:
        >>> cell("a|b <i>")
        'a\\|b &lt;i&gt;'
    """
    escaped = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)


def _encoder(source: Source) -> dict[str, str]:
    properties = source.run.properties
    handle = str(source.settings.get("encoder", {}).get("handle", ""))
    known = KNOWN_ENCODERS.get(handle)
    return {
        "handle": handle,
        "sha256": str(properties.get(run_record.ENCODER_SHA256, "")),
        "license": known.license if known else "not known here; see where it comes from",
    }


def _data_row(texts: Texts) -> tuple[str, ...]:
    labels = ", ".join(f"{label} {value:.0%}" for label, value in list(texts.labels.items())[:8])
    numbers = (count(texts.num_texts), f"{texts.mean_length:.0f}", share(texts.truncated))
    return (cell(texts.name), *numbers, cell(labels))


def _spans(summary: Mapping[str, Any]) -> str:
    trained = summary.get("trained_on_spans")
    if not trained:
        return ""
    newest = summary["evaluated_on_span"]
    return f"Trained on the train split of span {', '.join(trained)}; evaluated on the eval split of span {newest}."


def _epoch(source: Source) -> str:
    folder = source.folder("Trainer", "model_run")
    record = read_record(folder) if folder else {}
    return f"The weights are those of {cell(chosen_on(record))}." if record else ""


def _metrics(slices: Sequence[SliceMetrics]) -> Iterator[list[str]]:
    """The head of the table of metrics and its rows."""
    names = [name for name in _COLUMNS if name in slices[0].metrics]
    baseline = ["accuracy of the baseline"] if slices[0].baseline else []
    yield ["slice", "examples", *(name.replace("_", " ") for name in names), *baseline]
    for row in slices:
        before = [number(row.baseline.get(metric_names.ACCURACY)) for _ in baseline]
        values = [_with_interval(row, name) for name in names]
        yield [cell(slice_title(row)), count(row.num_examples), *values, *before]


def _with_interval(row: SliceMetrics, name: str) -> str:
    known = row.intervals.get(name)
    return number(row.metrics.get(name)) + (f" ±{known.half_width:.3f}" if known and known.is_known else "")


def _limits(source: Source) -> Iterator[str]:
    summary = source.summary
    if source.outcome == "refused":
        yield from (f"A gate refused it: {cell(reason)}." for reason in summary["reasons"])
    lines = list(summary.get("behind", ()))
    folder = source.folder("Coverage", "report")
    if folder and (folder / COVERAGE_FILE).exists():
        lines += sentences(read_report(str(folder)))
    lines += (*summary.get("data_notes", ()), *summary.get("notes", ()))
    yield from (f"{cell(line)}." for line in lines)
    length = source.settings["text"]["max_seq_length"]
    yield f"Texts beyond {length} tokens are cut; what stands after that is not read."
    yield "It answers one of its labels to any text, also to one that is about something else."


def _lineage(source: Source) -> Iterator[tuple[str, str]]:
    yield "run", f"{source.run.number} ({source.run.name})"
    for title, node, key in (
        ("Model", "Trainer", "model"),
        ("TransformGraph", "Transform", "transform_graph"),
        ("Schema", "Schema", "schema"),
        ("ModelEvaluation", "Evaluator", "evaluation"),
    ):
        artifact = source.artifact(node, key)
        if artifact:
            yield f"{title} in ML Metadata", str(artifact.id)
    examples = [str(artifact.id) for artifact in source.given("Transform", "examples")]
    yield "Examples in ML Metadata", ", ".join(examples) or "-"
    for title, key in (("code's SHA-256", run_record.CODE_SHA256), ("commit", run_record.COMMIT)):
        if key in source.run.properties:
            yield title, str(source.run.properties[key])
    yield from versions()


def _call(source: Source) -> dict[str, str]:
    columns = source.settings["data"]["text"]
    name = source.history.task
    instance = "..." if len(columns) == 1 else dict.fromkeys(columns, "...")
    return {
        "url": f"localhost:8501/v1/models/{name}:predict",
        "body": shlex.quote(json.dumps({"instances": [instance]}, ensure_ascii=False)),
        "serve": typed.command("serve", task=name),
    }
