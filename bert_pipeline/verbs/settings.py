"""The verb `settings`: explains every setting and component."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "every setting and component, and what a change of it reruns"
    parser = common.add_verb(verbs, "settings", text, run=_run)
    parser.add_argument("word", nargs="?", default="", help="only keys with this in them, in short")


def _run(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings_map import settings

    return settings.main(arguments)
