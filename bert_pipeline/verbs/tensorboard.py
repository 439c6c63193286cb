"""The verb `tensorboard`: shows the trainings of a task side by side."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "tensorboard",
        "show the trainings of a task side by side",
        common.Verb("report.tensorboard", logged=True, needs_run="record", reads_record=True, writes=True),
    )
    common.add_past(parser)
    parser.add_argument(
        "--port", type=argument_types.port, default=6006, help="of 127.0.0.1; 0: any that is free"
    )
    parser.add_argument("--last", type=argument_types.count(1), default=5, help="how many trainings")
