"""The verb `rollback`: puts the version before back into service."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "rollback",
        "put the version before back into service",
        common.Verb("history.rollback", needs_run="record", reads_record=True, writes=True),
    )
    common.add_past(parser)
    parser.add_argument("--to", default="", help="the version to go back to; default: the one before")
    parser.add_argument("--reason", type=argument_types.line, default="", help="why, for the record")
