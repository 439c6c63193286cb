"""The verb `tensorboard`: shows the trainings of a task side by side."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "tensorboard",
        "show the trainings of a task side by side",
        run=_run,
        needs_run="record",
        reads_record=True,
        writes=True,
    )
    common.add_past(parser)
    parser.add_argument(
        "--port", type=argument_types.port, default=6006, help="of 127.0.0.1; 0: any that is free"
    )
    parser.add_argument("--last", type=argument_types.count(1), default=5, help="how many trainings")


def _run(arguments: argparse.Namespace) -> int:
    with common.logged(arguments, "tensorboard"):
        from bert_pipeline.report import tensorboard
        from bert_pipeline.settings.run_log import quiet_library_loggers

        quiet_library_loggers()
        return tensorboard.main(arguments)
