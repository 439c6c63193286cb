"""The Makefile: each target is listed, and none holds logic."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True
    )
    assert re.findall(r"^  make ([\w-]+) +\S", printed.stdout, re.MULTILINE) == targets[1].split()


def test_make_targets_are_at_most_three_lines() -> None:
    rules = re.findall(
        r"^[a-z-]+:.*\n((?:\t.*\n?)*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rules) > 10
    assert max(len(rule.splitlines()) for rule in rules) <= 3
