"""Plays an output folder over two stacks, there and back: what one made, the other continues.

    python -m tests.cross_stacks --other "chroot /srv/trixie /project/.venv/bin/python" --out /tmp/crossing

This folder and OUT must have the same paths on both sides (bind mounts, for a chroot; of a copy, whose files have other
times, ExampleGen and what follows is made again). The toy task runs here; there,
where nothing may be made again; there for more epochs, so that it trains on the transform graph made here and
judges against the model made here; and here once more, where nothing may be made again. Standard library only.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Without -m, which would look for the package in the folder that chroot starts in.
START = (
    f"import os, runpy, sys; os.chdir({str(ROOT)!r}); runpy.run_module(sys.argv.pop(1), run_name='__main__')"
)
MADE_ONCE = {"ExampleGen", "Schema", "StatisticsGen", "ExampleValidator", "Transform", "Trainer", "Evaluator"}
LONGER = "--set=training.epochs=14"
MOST_APART = 1e-5


def main() -> int:
    """Runs the toy task four times and crosses the rest; returns 1 where something failed or was made again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", required=True, help="command that starts the other stack's Python")
    parser.add_argument("--out", required=True, type=Path, help="empty or new folder")
    flags = parser.parse_args()
    if flags.out.exists() and any(flags.out.iterdir()):
        parser.error(f"--out: {flags.out} is not empty; give a new folder")
    out, here, there = flags.out.resolve(), [sys.executable], shlex.split(flags.other)
    faults: list[str] = []
    faults += _play("here", here, out, may_run=None)
    faults += _play("there", there, out, may_run=set())
    faults += apart(*labelled_tables(out)[:2])
    faults += _play("there, trained for longer", there, out, LONGER, may_run={"Trainer", "Evaluator"})
    faults += _play("here, trained for longer", here, out, LONGER, may_run=set())
    faults += apart(*labelled_tables(out)[-2:])
    faults += _cross("here to there", here, there, out / "made_here")
    faults += _cross("there to here", there, here, out / "made_there")
    print(
        *(f"FAULT: {fault}" for fault in faults), "crossed over" if not faults else "did not cross", sep="\n"
    )
    return bool(faults)


def _play(name: str, python: list[str], out: Path, *more: str, may_run: set[str] | None) -> list[str]:
    print(f"== {name}", flush=True)
    done = _run(python, "bert_pipeline", "pipeline", "--task=toy", f"--out={out}", *more)
    print(
        *[line for line in done.stdout.splitlines() if re.match(r"  \w+ .*(s|cached)$|verdict|time", line)],
        sep="\n",
    )
    if done.returncode:
        return [f"{name}: status {done.returncode}: {done.stdout.strip().splitlines()[-1:]}"]
    again = set() if may_run is None else made_again(done.stdout) - may_run
    return [f"{name}: made again: {', '.join(sorted(again))}"] if again else []


def _cross(name: str, writer: list[str], reader: list[str], folder: Path) -> list[str]:
    """Request logs and encoders, written by one side and read by the other."""
    print(f"== request logs and encoders, {name}", flush=True)
    for python, verb in ((writer, "make"), (reader, "check")):
        done = _run(python, "tests.crossing", verb, str(folder))
        if done.returncode:
            return [f"{name}, {verb}: status {done.returncode}: {done.stdout.strip().splitlines()[-3:]}"]
    return []


def _run(python: list[str], module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONPATH=f"{ROOT / 'modules'}:{ROOT}", TF_USE_LEGACY_KERAS="1")
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    command = [*python, "-c", START, module, *arguments]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def made_again(output: str) -> set[str]:
    """The components of MADE_ONCE that a run's output shows with a time and not as cached."""
    return {
        line.split()[0] for line in output.splitlines() if re.match(r"  \w+ +[\d.]+ s$", line)
    } & MADE_ONCE


def labelled_tables(out: Path) -> list[Path]:
    """The tables of labelled texts, oldest first."""
    return sorted(
        out.glob("toy/artifacts/LabelledTable/table/*/labelled.csv"), key=lambda p: int(p.parent.name)
    )


def apart(one: Path, other: Path) -> list[str]:
    """What differs between two tables by more than MOST_APART, which is wider than floats of two releases are."""
    rows = [list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in (one, other)]
    if len(rows[0]) != len(rows[1]):
        return [f"{one} has {len(rows[0])} lines, {other} {len(rows[1])}"]
    pairs = ((a, b) for left, right in zip(*rows, strict=True) for a, b in zip(left, right, strict=True))
    wrong = [f"{a} and {b}" for a, b in pairs if not _alike(a, b)]
    return [f"{one} and {other} differ: {', '.join(wrong[:5])}"] if wrong else []


def _alike(one: str, other: str) -> bool:
    try:
        return abs(float(one) - float(other)) <= MOST_APART
    except ValueError:
        return one == other


if __name__ == "__main__":
    sys.exit(main())
