"""The verb `compare`: puts several runs side by side."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "compare",
        "put several runs side by side, and say what changed",
        common.Verb("history.compare", needs_run="record", reads_record=True),
    )
    common.add_past(parser)
    parser.add_argument("runs", nargs="*", help="numbers, run ids or versions; default: the last ones")
    parser.add_argument(
        "--last", type=argument_types.count(1), default=5, help="how many, where none are named"
    )
    parser.add_argument("--metrics", default="accuracy,macro_f1", help="names, with commas between")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text")
