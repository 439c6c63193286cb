"""The command line of the verbs on a task's past: lineage, compare, tensorboard, report, rollback, gc and others."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.settings import argument_types


def add(verbs: Any) -> None:
    """Adds the verbs to the parser's (`ArgumentParser.add_subparsers`)."""
    lineage = _verb(verbs, "lineage", "say what made a model, or which models a span made", run=_lineage)
    lineage.add_argument(
        "model", nargs="?", default="", help="a version or a model; default: what is in service"
    )
    lineage.add_argument("--span", default=None, dest="of_span", help="the models trained on this span")
    lineage.add_argument("--format", choices=("text", "json", "mermaid", "dot"), default="text")

    compare = _verb(verbs, "compare", "put several runs side by side, and say what changed", run=_compare)
    compare.add_argument("runs", nargs="*", help="numbers, run ids or versions; default: the last ones")
    compare.add_argument(
        "--last", type=argument_types.count(1), default=5, help="how many, where none are named"
    )
    compare.add_argument("--metrics", default="accuracy,macro_f1", help="names, with commas between")
    compare.add_argument("--format", choices=("text", "json", "csv"), default="text")

    board = _verb(verbs, "tensorboard", "show the trainings of a task side by side", run=_tensorboard)
    board.add_argument(
        "--port", type=argument_types.port, default=6006, help="of 127.0.0.1; 0: any that is free"
    )
    board.add_argument("--last", type=argument_types.count(1), default=5, help="how many trainings")

    report = _verb(verbs, "report", "open the newest report, or write an older run's anew", run=_report)
    report.add_argument(
        "wanted", nargs="?", default="", help="number, run id or version of a run; default: the newest"
    )
    report.add_argument("--no-open", action="store_true", help="print the path, open no browser")

    rollback = _verb(verbs, "rollback", "put the version before back into service", run=_rollback)
    rollback.add_argument("--to", default="", help="the version to go back to; default: the one before")
    rollback.add_argument("--reason", type=argument_types.line, default="", help="why, for the record")

    gc = _verb(verbs, "gc", "list, and with --yes remove, what nobody needs any more", run=_gc)
    gc.add_argument(
        "--keep", type=argument_types.count(1), default=3, help="how many of the newest versions stay"
    )
    gc.add_argument("--yes", action="store_true", help="remove it; without, nothing is removed")

    upgrade = _verb(verbs, "upgrade-metadata", "bring an older metadata store up to this TFX", run=_upgrade)
    upgrade.set_defaults(reads_record=False)


def _verb(verbs: Any, name: str, text: str, *, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--task", default="shoes", help="name of a file in tasks/, or a path")
    parser.add_argument(
        "--out", default="out", type=argument_types.out_folder, help="where runs write everything"
    )
    parser.add_argument("--metadata", default="", help="sqlite (default), mysql://... or postgresql://...")
    parser.set_defaults(run=run, needs_run="record", reads_record=True)
    return parser


# Imports stand inside the verbs: two of them need TensorFlow, and `--help` needs nothing.


def _lineage(arguments: argparse.Namespace) -> int:
    from bert_pipeline.history import lineage_verb

    return lineage_verb.main(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from bert_pipeline.history import compare as compare_verb

    return compare_verb.main(arguments)


def _tensorboard(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths
    from bert_pipeline.settings.run_log import quiet_library_loggers, run_log

    paths = run_paths(task_name(arguments.task), out=arguments.out)
    with run_log(paths.logs / "tensorboard.log", verbose=False):
        from bert_pipeline.report import tensorboard

        quiet_library_loggers()
        return tensorboard.main(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from bert_pipeline.report import command

    return command.main(arguments)


def _rollback(arguments: argparse.Namespace) -> int:
    from bert_pipeline.history import rollback

    return rollback.main(arguments)


def _gc(arguments: argparse.Namespace) -> int:
    from bert_pipeline.history import gc as garbage_verb

    return garbage_verb.main(arguments)


def _upgrade(arguments: argparse.Namespace) -> int:
    from bert_pipeline.metadata import database
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths

    paths = run_paths(task_name(arguments.task), out=arguments.out)
    connection = database.connection_config(arguments.metadata, sqlite_path=paths.metadata)
    print(database.upgrade(connection))
    return 0
