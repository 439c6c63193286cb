"""What verbs have in common: how one is added and run, and the options of a task and of its past."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types, requests, run_log
from bert_pipeline.settings.errors import UserError

REST_PORT = 8501


@dataclasses.dataclass(frozen=True)
class Verb:
    """What is done for a verb, and what `checks` looks at before."""

    work: str
    """The module that does it, below `bert_pipeline`; imported last, as most import TensorFlow. It has a dataclass
    `Request`, whose fields are the verb's options, and a function `run`, which takes one and returns the status."""

    logged: bool = False
    """Whether what libraries print goes to OUT/TASK/logs/NAME.log."""

    needs_run: str = ""
    """`files` or `record`: what there must be of a run before."""

    reads_record: bool = False
    """Whether the records of runs that were killed are completed first."""

    writes: bool = False
    """Whether it writes into the output folder."""


def add_verb(
    verbs: Any, name: str, text: str, verb: Verb, *, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Adds a verb without options to the parser's (`ArgumentParser.add_subparsers`).

    Args:
        verbs: where verbs are added.
        name: of the verb.
        text: what it does, for the list of verbs.
        verb: how it is done.
        epilog: the last words of its help.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, epilog=epilog)
    parser.set_defaults(does=verb)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb of a parsed command line; returns the exit status."""
    verb: Verb = arguments.does
    with contextlib.ExitStack() as stack:
        if verb.logged:
            log = requests.of(requests.PlaceRequest, arguments).paths.logs / f"{arguments.verb}.log"
            stack.enter_context(run_log.run_log(log, verbose=getattr(arguments, "verbose", False)))
        module = importlib.import_module(f"bert_pipeline.{verb.work}")
        if verb.logged:
            run_log.quiet_library_loggers()
        return int(module.run(requests.of(module.Request, arguments)))


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
