"""The verb `lineage`: says what made a model, or which models a span made."""

from __future__ import annotations

from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "lineage",
        "say what made a model, or which models a span made",
        common.Verb("history.lineage", needs_run="record", reads_record=True),
    )
    common.add_past(parser)
    parser.add_argument(
        "model", nargs="?", default="", help="a version or a model; default: what is in service"
    )
    parser.add_argument("--span", default=None, dest="of_span", help="the models trained on this span")
    parser.add_argument("--format", choices=("text", "json", "mermaid"), default="text")
