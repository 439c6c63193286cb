"""Opens a task's paths and metadata store for the verbs on its history."""

from __future__ import annotations

from ml_metadata import MetadataStore

from bert_pipeline.metadata import database
from bert_pipeline.serving_folder import unfinished
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.requests import PastRequest


def task_store(request: PastRequest) -> tuple[MetadataStore, RunPaths]:
    """Opens the store of a verb's task.

    Raises:
        UserError: the task or its store does not exist, or the store cannot be opened.
    """
    paths = request.paths
    connection = database.connection_config(request.metadata, sqlite_path=paths.metadata)
    store = database.open_store(connection, must_exist=True)
    unfinished.settle_if_free(store, paths)
    return store, paths
