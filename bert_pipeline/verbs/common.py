"""What verbs have in common: how one is added and run, and the options of a task and of its past."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import os
import sys
from pathlib import Path
from typing import Any, Literal, NoReturn

from bert_pipeline.settings import argument_types, requests, run_log, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import check_writable

# Other imports stand inside the functions: `doctor` must run where no package is installed.

REST_PORT = 8501


@dataclasses.dataclass(frozen=True)
class Verb:
    """What is done for a verb, and what is checked before."""

    work: str
    """The module that does it, below `bert_pipeline`; imported last, as most import TensorFlow. It has a dataclass
    `Request`, whose fields are the verb's options, and a function `run`, which takes one and returns the status."""

    logged: bool = False
    """Whether what libraries print goes to OUT/TASK/logs/NAME.log."""

    needs_run: Literal["", "files", "record"] = ""
    """What there must be of a run before; `record`: in ML Metadata, which may lie elsewhere."""

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
    """Checks a parsed command line and runs its verb; returns the exit status.

    Raises:
        UserError: names the option, its value and the fix, or is the verb's.
    """
    verb: Verb = arguments.does
    _check(arguments)
    _complete_records(arguments)
    with contextlib.ExitStack() as stack:
        if verb.logged:
            log = requests.of(requests.PlaceRequest, arguments).paths.logs / f"{arguments.verb}.log"
            stack.enter_context(run_log.run_log(log, verbose=getattr(arguments, "verbose", False)))
        module = importlib.import_module(f"bert_pipeline.{verb.work}")
        if verb.logged:
            run_log.quiet_library_loggers()
        return int(module.run(requests.of(module.Request, arguments)))


def _check(arguments: argparse.Namespace) -> None:
    """Refuses a task, folder, span or setting that the verb could not use, before TensorFlow is loaded."""
    if not hasattr(arguments, "task"):
        return
    from bert_pipeline.data import spans

    request = requests.of(requests.GraphRequest, arguments)
    paths = request.paths
    if hasattr(arguments, "overrides"):
        loaded = request.load()
        if arguments.verb in ("pipeline", "schema"):
            spans.resolve_window(loaded)
    if request.metadata:
        from bert_pipeline.metadata import database

        database.connection_config(request.metadata, sqlite_path=paths.metadata)
    need = arguments.does.needs_run
    is_elsewhere = need == "record" and request.metadata not in ("", "sqlite")
    if need and not paths.root.is_dir() and not is_elsewhere:
        raise UserError(typed.missing_run(paths.root))
    if arguments.does.writes:
        check_writable(paths)


def _complete_records(arguments: argparse.Namespace) -> None:
    """Completes the records of runs that were killed after their push, before a verb reads them."""
    if not arguments.does.reads_record:
        return
    from bert_pipeline.history.task_store import task_store
    from bert_pipeline.serving_folder import unfinished

    request = requests.of(requests.PastRequest, arguments)
    store, paths = task_store(request)
    if unfinished.without_summary(store):
        from bert_pipeline.metadata import database
        from bert_pipeline.running import recovered  # TensorFlow: loaded only where it is needed

        connection = database.connection_config(request.metadata, sqlite_path=paths.metadata)
        recovered.complete(store, paths, connection, say=lambda line: print(line, file=sys.stderr))


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
