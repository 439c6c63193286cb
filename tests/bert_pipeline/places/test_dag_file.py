"""The command lines that the DAG file makes for bash; the file itself needs an Airflow: test_airflow.py."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "bert_pipeline/places/airflow/dag.py"


def command_line(words: list[str]) -> str:
    """What the function of that name in the DAG file gives; the rest of the file imports Airflow."""
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    [function] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "command_line"]
    names = {"re": re, "shlex": shlex}
    exec(compile(ast.Module([function], []), str(FILE), "exec"), names)
    return names["command_line"](words)


@pytest.mark.parametrize(("span", "last"), [("2026-11-25", ["--span=2026-11-25"]), ("", [])])
def test_bash_gives_a_step_its_words_its_run_and_its_span(span: str, last: list[str]) -> None:
    odd = ["a b", "$HOME", "{{ ds }}", "it's", "", "--set=x='y'"]
    words = ["printf", "<%s>\\n", *odd, "--run", "{run}", "--span={span}"]
    done = subprocess.run(
        ["bash", "-c", command_line(words)],
        env={"RUN": "manual__2026-11-28T10:00:00+00:00 $(id)", "SPAN": span, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    given = [*odd, "--run", "manual__2026-11-28T10:00:00+00:00 $(id)", *last]
    assert done.stdout.splitlines() == [f"<{word}>" for word in given]
