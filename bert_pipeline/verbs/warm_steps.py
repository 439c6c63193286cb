"""The verb `warm-steps`: a process that has imported TFX, and forks for each step that `node` is asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bert_pipeline.running import warm
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = f"import TFX once and fork for each step of `node` where {warm.VARIABLE} names the socket"
    parser = common.add_verb(verbs, "warm-steps", text, run=_run)
    parser.add_argument("--socket", required=True, type=Path, help="its path, in a folder of this user alone")


def _run(arguments: argparse.Namespace) -> int:
    import tensorflow_text  # noqa: F401

    from bert_pipeline import pipeline  # noqa: F401
    from bert_pipeline.report import after_run  # noqa: F401
    from bert_pipeline.running import older_spans, recovered, steps, summary  # noqa: F401

    warm.serve(arguments.socket, arguments.main)
