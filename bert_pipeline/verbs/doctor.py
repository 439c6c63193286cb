"""The verb `doctor`: says what is wrong with this machine."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    common.add_verb(verbs, "doctor", "say what is wrong with this machine", run=_run)


def _run(arguments: argparse.Namespace) -> int:
    del arguments
    from bert_pipeline.setup import doctor

    return doctor.main()
