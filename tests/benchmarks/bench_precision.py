"""What --mixed_precision=bfloat16 changes of a pushed model's answers, and of the time that they take.

    python -m tests.benchmarks.bench_precision out/sst2/serving/sst2 --texts DATA/sst2/eval.csv

Both precisions in one process, in turns, without a server.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving.model_server.models.servable import Servable, SignatureCall
from tests.benchmarks.load.processes import ROOT

PRECISIONS = {"float32": "", "bfloat16": "bfloat16"}
SAMPLE = ROOT / "data" / "shoes" / "span-2" / "reviews.csv"
_AT_ONCE = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each precision, and how their answers differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base_path", type=Path, help="folder of version folders, as pushed")
    parser.add_argument("--texts", type=Path, default=SAMPLE, help="CSV file")
    parser.add_argument("--column", default="text")
    parser.add_argument(
        "--label", default="label", help="column; where the file has none, nothing is said of accuracy"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8], help="texts a call")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args(arguments)
    with flags.texts.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = np.array([row[flags.column].encode() for row in rows], dtype=object)
    version = max(int(path.name) for path in flags.base_path.iterdir() if path.name.isdigit())
    servables = {
        name: Servable(
            str(flags.base_path / str(version)), name="model", version=version, precision=precision
        )
        for name, precision in PRECISIONS.items()
    }
    calls = {name: servable.call() for name, servable in servables.items()}
    answers = {name: _answers(call, texts) for name, call in calls.items()}
    times = _times(calls, texts, flags.sizes, flags.rounds)
    for name, answer in answers.items():
        line = f"{name}:"
        if flags.label in rows[0]:
            right = answer["label"].ravel() == np.array([row[flags.label].encode() for row in rows])
            line += f" accuracy {right.mean():.4f} on {len(rows)} texts,"
        print(line, ", ".join(times[name]))
    exact, near = answers["float32"], answers["bfloat16"]
    difference = np.abs(exact["probabilities"] - near["probabilities"])
    print(
        f"probabilities differ by {difference.max():.4f} at most, {difference.mean():.4f} on average; "
        f"{(exact['label'] != near['label']).sum()} of {len(texts)} labels differ"
    )
    for servable in servables.values():
        servable.close()


def _answers(call: SignatureCall, texts: np.ndarray) -> dict[str, np.ndarray]:
    parts = [call.function(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
    return {alias: np.concatenate(columns) for alias, *columns in zip(call.outputs, *parts, strict=True)}


def _times(
    calls: dict[str, SignatureCall], texts: np.ndarray, sizes: list[int], rounds: int
) -> dict[str, list[str]]:
    """For each precision and size the median over the rounds of the milliseconds of a text."""
    found: dict[str, list[str]] = {name: [] for name in calls}
    for size in sizes:
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        count = max(1, 128 // size)
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                for number in range(count):
                    call.function(texts[number * size : (number + 1) * size])
                seconds[name].append((time.perf_counter() - start) / count / size)
        for name, values in seconds.items():
            found[name].append(f"{np.median(values) * 1e3:.2f} ms a text in calls of {size}")
    return found


if __name__ == "__main__":
    main()
