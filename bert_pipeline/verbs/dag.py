"""The verb `dag`: writes a task's graph for an orchestrator."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common, pipeline

if TYPE_CHECKING:
    from bert_pipeline.places.steps_file import Schedule


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "write a task's graph for an orchestrator: its steps and their command lines, as JSON"
    parser = common.add_verb(verbs, "dag", text, run=_run)
    pipeline.add_request(parser)
    add_schedule(parser)
    parser.add_argument("--to", default="-", help="the file; -: standard output")


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """Adds the options --schedule, --start and --retries."""
    parser.add_argument("--schedule", default="", help="cron's five fields, or @daily; none: when asked to")
    parser.add_argument(
        "--start", type=_date, default=None, help="first date, 2025-07-01: runs of the past are made up"
    )
    parser.add_argument(
        "--retries",
        type=argument_types.count(0),
        default=1,
        help="how often a step that failed is tried again",
    )


def schedule_of(arguments: argparse.Namespace) -> Schedule:
    """What the options of `add_schedule` say."""
    from bert_pipeline.places.steps_file import Schedule

    return Schedule(arguments.schedule, arguments.start, arguments.retries)


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; give one such as 2025-07-01") from None


def _run(arguments: argparse.Namespace) -> int:
    from bert_pipeline.places import steps_file

    text = steps_file.as_json(pipeline.request_of(arguments), schedule_of(arguments))
    if arguments.to == "-":
        print(text, end="")
    else:
        steps_file.write(Path(arguments.to), text)
    return 0
