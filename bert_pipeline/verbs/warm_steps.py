"""The verb `warm-steps`: a process that has imported TFX, and forks for each step that `node` is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bert_pipeline.running import warm
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = f"import TFX once and fork for each step of `node` where {warm.VARIABLE} names the socket"
    parser = common.add_verb(verbs, "warm-steps", text, common.Verb("running.warm"))
    parser.add_argument("--socket", required=True, type=Path, help="its path, in a folder of this user alone")
