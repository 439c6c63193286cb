"""What libraries print goes to the log file; the program's own lines go to the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import logging, os, sys, tempfile, warnings
from pathlib import Path
from bert_pipeline.settings.run_log import run_log, quiet_library_loggers

noisy = logging.getLogger("noisy")
noisy.addHandler(logging.StreamHandler(sys.stderr))
with run_log(Path(sys.argv[1]), verbose=sys.argv[2] == "v"):
    quiet_library_loggers()
    os.write(2, b"from C++\\n")
    os.system("echo from a child")
    warnings.warn("from a library")
    noisy.warning("from a logger")
    print("own line")
    tempfile.mkstemp()
    os.system("mktemp > /dev/null")
    print("own progress", file=sys.stderr)
print("after")
"""


def run(tmp_path, mode):
    log = tmp_path / "run.log"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(log), mode],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert list(temporary.iterdir()) == []
    return done.stdout, done.stderr, log.read_text()


def test_libraries_are_kept_off_the_terminal(tmp_path):
    stdout, stderr, log = run(tmp_path, "q")
    assert stdout == "own line\nafter\n"
    assert stderr == "own progress\n"
    for line in ("from C++", "from a child", "from a library", "from a logger"):
        assert line in log


def test_verbose_brings_it_all_back(tmp_path):
    stdout, stderr, _ = run(tmp_path, "v")
    assert "from a child" in stdout
    for line in ("from C++", "from a library", "from a logger", "own progress"):
        assert line in stderr
