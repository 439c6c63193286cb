"""The verb `settings`: explains every setting and component."""

from __future__ import annotations

from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "every setting and component, and what a change of it reruns"
    parser = common.add_verb(verbs, "settings", text, common.Verb("settings_map.settings"))
    parser.add_argument("word", nargs="?", default="", help="only keys with this in them, in short")
