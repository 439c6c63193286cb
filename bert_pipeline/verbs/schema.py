"""The verb `schema`: compares the curated schema with the newest data."""

from __future__ import annotations

from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "schema",
        "compare the curated schema with the newest data",
        common.Verb("running.schema_review", logged=True, writes=True),
    )
    parser.add_argument("action", choices=("review",))
    common.add_task(parser)
    parser.add_argument(
        "--accept", action="store_true", help="write what the data suggests into the curated schema"
    )
