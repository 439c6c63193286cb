"""The verb `pipeline`: runs a task's graph."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs, "pipeline", "run a task's pipeline", common.Verb("running.run", writes=True)
    )
    add_request(parser)


def add_request(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a run."""
    common.add_task(parser)
    parser.add_argument(
        "--window", type=argument_types.count(1), help="spans to train on, instead of data.window"
    )
    parser.add_argument(
        "--server",
        choices=("process", "docker"),
        default="process",
        help="what InfraValidator loads the candidate in: our server, or TensorFlow Serving in docker",
    )
