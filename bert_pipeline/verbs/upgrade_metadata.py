"""The verb `upgrade-metadata`: brings an older metadata store up to this TFX."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings.requests import PastRequest as Request
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "bring an older metadata store up to this TFX"
    parser = common.add_verb(
        verbs,
        "upgrade-metadata",
        text,
        common.Verb("verbs.upgrade_metadata", needs_run="record", writes=True),
    )
    common.add_past(parser)


def run(request: Request) -> int:
    """Upgrades the store and says so; returns 0."""
    from bert_pipeline.metadata import database

    print(database.upgrade(database.connection_config(request.metadata, sqlite_path=request.paths.metadata)))
    return 0
