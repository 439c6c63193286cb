"""The verb `upgrade-metadata`: brings an older metadata store up to this TFX."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "bring an older metadata store up to this TFX"
    parser = common.add_verb(verbs, "upgrade-metadata", text, run=_run, needs_run="record", writes=True)
    common.add_past(parser)


def _run(arguments: argparse.Namespace) -> int:
    from bert_pipeline.metadata import database
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths

    paths = run_paths(task_name(arguments.task), out=arguments.out)
    print(database.upgrade(database.connection_config(arguments.metadata, sqlite_path=paths.metadata)))
    return 0
