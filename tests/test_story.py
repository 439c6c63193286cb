"""The story of `story.py` comes true: every step, by the commands that people type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STORY = Path(__file__).with_name("story.py")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_story_comes_true(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", str(STORY), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT " not in [line[:4] for line in done.stdout.splitlines()]
