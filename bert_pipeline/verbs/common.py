"""What several verbs take: options of a task and of its past, the log that libraries write to."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types
from bert_pipeline.settings.errors import UserError

REST_PORT = 8501

Run = Callable[[argparse.Namespace], int]


def add_verb(
    verbs: Any, name: str, text: str, *, run: Run, epilog: str | None = None, **defaults: str | bool
) -> argparse.ArgumentParser:
    """Adds a verb without options to the parser's (`ArgumentParser.add_subparsers`).

    Args:
        verbs: where verbs are added.
        name: of the verb.
        text: what it does, for the list of verbs.
        run: does it; given the parsed command line, returns the exit status.
        epilog: the last words of its help.
        defaults: what `checks` reads: `needs_run` ("files" or "record": of a run before), `reads_record` (runs that
            were killed are completed first), `writes` (into the output folder).
    """
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, epilog=epilog)
    parser.set_defaults(run=run, **defaults)
    return parser


def add_place(parser: argparse.ArgumentParser) -> None:
    """Adds the options --task and --out."""
    parser.add_argument("--task", default="shoes", help="name of a file in tasks/, or a path")
    parser.add_argument("--out", default="out", type=argument_types.out_folder, help="where runs write")


def add_past(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a verb that reads what ran before."""
    add_place(parser)
    parser.add_argument("--metadata", default="", help="sqlite (default), mysql://... or postgresql://...")


def add_task(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a verb that runs a graph."""
    add_past(parser)
    parser.add_argument("--data", default="", help="data folder, instead of the task's data.path")
    parser.add_argument(
        "--span", type=span, default=None, help="span, instead of the task's data.span: 2, 2025-07-01"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the libraries log")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="one setting",
    )


def span(text: str) -> int:
    """A type of option: a span, `2` or `2025-07-01`; empty: the newest."""
    from bert_pipeline.data import spans

    try:
        return spans.parse_span(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@contextlib.contextmanager
def logged(arguments: argparse.Namespace, name: str) -> Iterator[None]:
    """Sends what libraries print into OUT/TASK/logs/NAME.log; import TensorFlow inside."""
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths
    from bert_pipeline.settings.run_log import run_log

    log = run_paths(task_name(arguments.task), out=arguments.out).logs / f"{name}.log"
    with run_log(log, verbose=getattr(arguments, "verbose", False)):
        yield


def become(module: str, *flags: str) -> NoReturn:
    """Goes on as another program of this project, so that signals and exit status are its own.

    Args:
        module: that is run.
        flags: its command line.
    """
    sys.stdout.flush()
    root = str(Path(__file__).resolve().parents[2])
    given = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, *([given] if given else [])])
    os.execve(sys.executable, [sys.executable, "-m", module, *flags], {**os.environ, "PYTHONPATH": path})
