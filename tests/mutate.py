"""Mutation testing of the arithmetic that decides a push and an alarm: `make mutate`.

    python -m tests.mutate                      # every mutant: hours on two cores
    python -m tests.mutate --only intervals     # those of one file

Copies the files and their tests, which need numpy, scipy and scikit-learn only, into a folder, makes an environment
with the installed versions of these and mutmut there, and lets mutmut change one thing at a time. A mutant that no test
notices must be in `tests/mutants.txt` with a reason; 1 where one is not.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests" / "mutants.txt"
MUTMUT = "mutmut==3.3.1"

# What is mutated, and what that needs beside it.
MUTATED = ("bert_pipeline/judging", "bert_pipeline/monitoring/verdict.py")
NEEDED = (
    *MUTATED,
    "bert_pipeline/__init__.py",
    "bert_pipeline/errors.py",
    "bert_pipeline/gate_checks.py",
    "bert_pipeline/monitoring/__init__.py",
    "bert_pipeline/scores.py",
    "bert_pipeline/slice_metrics.py",
    "modules",
    "tests/error_rates.py",
    "tests/bert_pipeline/test_intervals.py",
    "tests/bert_pipeline/test_judging_gates.py",
    "tests/bert_pipeline/test_measures.py",
    "tests/bert_pipeline/test_power.py",
    "tests/bert_pipeline/test_sentences.py",
    "tests/bert_pipeline/test_verdict.py",
)
# No test of a file's arithmetic, and slow: rates by simulation, which many mutants move too little to notice.
_DESELECTED = "not four_times_in_five and not as_often_as_they_say"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs mutmut and prints the score.

    Returns:
        1 where a mutant survives that is not in the list, else 0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="mutants of files whose name starts so")
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "mutants")
    flags = parser.parse_args(arguments)
    folder = flags.folder.resolve()
    _lay_out(folder / "project")
    mutmut = _environment(folder / "env")
    names = [f"bert_pipeline.*.{flags.only}*"] if flags.only else []
    # The mutants, not this project: PYTHONPATH would put it first.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([mutmut, "run", *names], cwd=folder / "project", check=False, env=alone)
    results = subprocess.run(
        [mutmut, "results", "--all", "true"],
        cwd=folder / "project",
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    found = dict(line.strip().split(": ", 1) for line in results.stdout.splitlines() if ": " in line)
    found = {name: state for name, state in found.items() if not names or fnmatch.fnmatch(name, names[0])}
    known = dict(_known())
    survivors = [
        name for name, state in found.items() if state not in ("killed", "timeout") and name not in known
    ]
    counts = {state: list(found.values()).count(state) for state in sorted(set(found.values()))}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    for name in survivors:
        print(
            f"no test notices {name} ({found[name]}); see it with: cd {folder / 'project'} && {mutmut} show {name}"
        )
    return 1 if survivors else 0


def _known() -> Iterator[tuple[str, str]]:
    """The mutants of the list, with the reason of each."""
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, reason = line.split(": ", 1)
            yield name, reason


def _lay_out(project: Path) -> None:
    """Copies what is needed; the folder is ours, and made anew."""
    if project.exists():
        shutil.rmtree(project)
    for name in NEEDED:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, project / name)
    lines = ["[mutmut]", "paths_to_mutate=", *(f"    {name}" for name in MUTATED)]
    lines += [
        "tests_dir=tests/",
        "also_copy=",
        "    bert_pipeline",
        "    modules",
        "    tests",
        "    pytest.ini",
    ]
    (project / "setup.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = f"-x -q --import-mode=importlib -p no:cacheprovider -k '{_DESELECTED}'"
    (project / "pytest.ini").write_text(
        f"[pytest]\npythonpath = . modules\naddopts = {options}\n", encoding="utf-8"
    )


def _environment(folder: Path) -> str:
    """An environment with mutmut and this one's numpy and scipy; the path of mutmut's command."""
    [uv] = [str(path) for path in (ROOT / ".tools" / "uv").glob("*/uv")][-1:] or ["uv"]
    pinned = [
        f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "scipy", "scikit-learn", "pytest")
    ]
    if not (folder / "bin" / "mutmut").exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        python = str(folder / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, MUTMUT, *pinned], check=True)
    return str(folder / "bin" / "mutmut")


if __name__ == "__main__":
    sys.exit(main())
