"""The verb `skew`: compares training with serving on a CSV."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "skew",
        "compare training with serving on a CSV",
        common.Verb("running.skew", logged=True, needs_run="files", writes=True),
    )
    common.add_task(parser)
    parser.add_argument(
        "--csv",
        type=argument_types.file,
        default="",
        help="file to compare on; default: the task's own files",
    )
