"""What is checked of a command line before its verb begins, and what is put right, without TensorFlow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Imports stand inside the functions: `doctor` must run where no package is installed.


def check(arguments: argparse.Namespace) -> None:
    """Refuses a task, folder, span or setting that the verb could not use.

    Args:
        arguments: the parsed command line; reads `task`, `out`, `data`, `span`, `window`, `overrides`, `metadata`
            where they are there, `needs_run` and `writes` of the verb.

    Raises:
        UserError: names the option, its value and the fix.
    """
    if not hasattr(arguments, "task"):
        return
    from bert_pipeline.data import spans
    from bert_pipeline.settings import config
    from bert_pipeline.settings.paths import check_writable, run_paths

    name = config.task_name(arguments.task)
    if hasattr(arguments, "overrides"):
        loaded = config.load_task(
            arguments.task,
            data=arguments.data,
            span=arguments.span,
            window=getattr(arguments, "window", None),
            overrides=arguments.overrides,
        )
        if arguments.verb in ("pipeline", "schema"):
            spans.resolve_window(loaded)
    if address := getattr(arguments, "metadata", ""):
        from bert_pipeline.metadata import database

        database.connection_config(address, sqlite_path=Path("unused"))
    if need := getattr(arguments, "needs_run", ""):
        root = run_paths(name, out=arguments.out).root
        if not root.is_dir() and not (
            need == "record" and getattr(arguments, "metadata", "") not in ("", "sqlite")
        ):
            raise UserError(typed.missing_run(root))
    if getattr(arguments, "writes", False):
        check_writable(run_paths(name, out=arguments.out))


def complete_records(arguments: argparse.Namespace) -> None:
    """Completes the records of runs that were killed after their push, before a verb reads them.

    Args:
        arguments: the parsed command line of a verb with `reads_record`.
    """
    if not getattr(arguments, "reads_record", False):
        return
    from bert_pipeline.history.task_store import task_store
    from bert_pipeline.serving_folder import unfinished

    store, paths = task_store(arguments)
    if unfinished.without_summary(store):
        from bert_pipeline.metadata import database
        from bert_pipeline.running import recovered  # TensorFlow: loaded only where it is needed

        connection = database.connection_config(arguments.metadata, sqlite_path=paths.metadata)
        recovered.complete(store, paths, connection, say=lambda line: print(line, file=sys.stderr))
