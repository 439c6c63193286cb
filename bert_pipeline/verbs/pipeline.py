"""The verb `pipeline`: runs a task's graph."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common

if TYPE_CHECKING:
    from bert_pipeline.running.run import Request


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(verbs, "pipeline", "run a task's pipeline", run=_run, writes=True)
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


def _run(arguments: argparse.Namespace) -> int:
    from bert_pipeline.running import run

    return run.run(request_of(arguments))


def request_of(arguments: argparse.Namespace) -> Request:
    """What the command line asked for."""
    from bert_pipeline.running.run import Request

    fields = ("task", "data", "span", "window", "out", "metadata", "server", "verbose")
    given = {name: getattr(arguments, name) for name in fields}
    return Request(overrides=tuple(arguments.overrides), **given)
