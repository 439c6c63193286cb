"""The verb `lineage`: prints where a model comes from, or which models a span made."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from ml_metadata import MetadataStore

from bert_pipeline.data.spans import parse_span
from bert_pipeline.history import lineage, lineage_picture
from bert_pipeline.history.names import find_model, name_of_span
from bert_pipeline.history.task_store import task_store
from bert_pipeline.metadata.run_history import History, read_history
from bert_pipeline.serving_folder.served import ServedVersion, served_versions


def main(arguments: argparse.Namespace) -> int:
    """Prints the lineage; returns 0.

    Args:
        arguments: `model` (a version or model, empty: what is in service), `of_span` (a span as it is typed, or None),
            `format` (text, json, mermaid or dot), and those of `task_store`.

    Raises:
        UserError: there is no such model or span, or nothing is recorded.
    """
    store, paths = task_store(arguments)
    history = read_history(store, task=paths.task_name)
    versions = served_versions(paths.push_destination)
    if arguments.of_span is not None:
        print(_of_span(history, store, versions, parse_span(arguments.of_span), arguments.format))
        return 0
    model_id, version = find_model(history, store, versions, arguments.model)
    if arguments.format in ("mermaid", "dot"):
        served = lineage_picture.served_pushes(history, versions)
        drawn = lineage_picture.picture(history, model_id=model_id, served=served)
        draw = lineage_picture.as_dot if arguments.format == "dot" else lineage_picture.as_mermaid
        print(draw(drawn))
        return 0
    found = lineage.lineage_of(history, store, versions, model_id=model_id, version=version)
    print(lineage.as_json(found) if arguments.format == "json" else lineage.as_text(found))
    return 0


def _of_span(
    history: History, store: MetadataStore, versions: Sequence[ServedVersion], span: int, form: str
) -> str:
    found = [
        lineage.lineage_of(history, store, versions, model_id=model_id, version=None)
        for model_id in lineage.models_of_span(history, span)
    ]
    if form == "json":
        return json.dumps([json.loads(lineage.as_json(each)) for each in found], indent=2, ensure_ascii=False)
    lines = [
        f"{len(found)} model{'s' * (len(found) != 1)} of {history.task} learned from span {name_of_span(history, span)}"
    ]
    for each in found:
        spans = ", ".join(example.span_name for example in each.examples)
        where = f"version {', '.join(each.versions)}" if each.versions else lineage.gone_versions(each)
        state = "  in service" if each.in_service else ""
        run = each.run.get("number", "?")
        lines.append(f"  model {each.model.artifact:<6} run {run:<4} spans {spans}  {where}{state}")
    return "\n".join(lines)
