"""Makes the flat files of `modules/` importable for `python -m bert_pipeline`, which make does by PYTHONPATH."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def make_importable() -> None:
    """Puts `modules/` and the project on the path, of this process and of those it starts.

    Does nothing where they are there, as under make, which sets PYTHONPATH.
    """
    if importlib.util.find_spec("bert_task") is not None:
        return
    folders = [str(_ROOT / "modules"), str(_ROOT)]
    sys.path[:0] = folders
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([given] if given else [])])
