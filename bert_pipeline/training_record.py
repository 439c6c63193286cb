"""What a training left about itself, beside its curves (`modules/bert_job.py` writes it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD_FILE = "training.json"

# Trainings from before there was a held-out part.
_CHOSEN_ON_EVAL = "epoch {best_epoch} of {num_epochs}, chosen on the eval split, which the gates read as well"


def read_record(model_run: Path) -> dict[str, Any]:
    """The record of a training.

    Args:
        model_run: folder of Trainer's ModelRun.

    Returns:
        The fields of `bert_job.Report`; empty: there is none.
    """
    path = model_run / RECORD_FILE
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def chosen_on(record: Mapping[str, Any]) -> str:
    """Which epoch's weights were kept, and what chose it.

    Example:
        >>> chosen_on({"best_epoch": 3, "history": {"accuracy": [0.5, 0.6, 0.8, 0.9]}})
        'epoch 3 of 4, chosen on the eval split, which the gates read as well'

    Args:
        record: of `read_record`.
    """
    if "chosen_on" in record:
        return str(record["chosen_on"])
    num_epochs = len(record["history"]["accuracy"])
    return _CHOSEN_ON_EVAL.format(best_epoch=record["best_epoch"], num_epochs=num_epochs)
