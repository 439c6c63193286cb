"""The verb `dag`: writes a task's graph for an orchestrator."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common, pipeline


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "write a task's graph for an orchestrator: its steps and their command lines, as JSON"
    parser = common.add_verb(verbs, "dag", text, common.Verb("places.steps_file"))
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


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; give one such as 2025-07-01") from None
