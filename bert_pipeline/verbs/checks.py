"""What is checked of a command line before its verb begins, and what is put right, without TensorFlow."""

from __future__ import annotations

import argparse
import sys

from bert_pipeline.settings import requests, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import check_writable

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


def complete_records(arguments: argparse.Namespace) -> None:
    """Completes the records of runs that were killed after their push, before a verb reads them.

    Args:
        arguments: the parsed command line of a verb with `reads_record`.
    """
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
