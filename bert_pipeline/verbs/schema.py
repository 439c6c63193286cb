"""The verb `schema`: compares the curated schema with the newest data."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs, "schema", "compare the curated schema with the newest data", run=_run, writes=True
    )
    parser.add_argument("action", choices=("review",))
    common.add_task(parser)
    parser.add_argument(
        "--accept", action="store_true", help="write what the data suggests into the curated schema"
    )


def _run(arguments: argparse.Namespace) -> int:
    with common.logged(arguments, "schema"):
        from bert_pipeline.running import schema_review
        from bert_pipeline.settings.run_log import quiet_library_loggers

        quiet_library_loggers()
        return schema_review.main(arguments)
