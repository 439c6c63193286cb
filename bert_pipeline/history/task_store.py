"""What the verbs on a task's past begin with: its paths and its metadata store."""

from __future__ import annotations

import argparse
from pathlib import Path

from ml_metadata import MetadataStore

from bert_pipeline.metadata import database
from bert_pipeline.serving_folder import unfinished
from bert_pipeline.settings.config import task_name
from bert_pipeline.settings.paths import RunPaths, run_paths


def task_store(arguments: argparse.Namespace) -> tuple[MetadataStore, RunPaths]:
    """Opens the store of the task that the command line names.

    Args:
        arguments: `task`, `out`, `metadata`.

    Raises:
        UserError: there is no such task or no store, or the store cannot be opened.
    """
    paths = run_paths(task_name(arguments.task), out=Path(arguments.out))
    connection = database.connection_config(arguments.metadata, sqlite_path=paths.metadata)
    store = database.open_store(connection, must_exist=True)
    unfinished.settle_if_free(store, paths)
    return store, paths
