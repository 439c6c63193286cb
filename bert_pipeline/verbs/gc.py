"""The verb `gc`: lists, and removes with --yes, what nothing refers to any more."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "gc",
        "list, and remove where told to, what nothing refers to any more",
        common.Verb("history.gc", needs_run="record", reads_record=True, writes=True),
    )
    common.add_past(parser)
    parser.add_argument(
        "--keep", type=argument_types.count(1), default=3, help="how many of the newest versions stay"
    )
    parser.add_argument("--yes", action="store_true", help="remove it; without, nothing is removed")
