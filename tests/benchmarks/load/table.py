"""Results as Markdown and as lines of JSON."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.load.plan import Result, merge, percentile
from tests.benchmarks.load.targets import Load

_HEAD = (
    "| server | load | requests/s (rounds) | p50 ms | p99 ms | p99.9 ms | errors | CPU ms/request, server "
    "| generator | memory MB, peak |\n|---|---|--:|--:|--:|--:|---|--:|--:|--:|"
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One target under one load: all its rounds."""

    target: str
    load: Load
    rounds: Sequence[Result]
    memory_mb: float
    peak_memory_mb: float

    @property
    def key(self) -> tuple[str, int, float]:
        return self.target, self.load.clients, self.load.rate

    def figures(self) -> dict[str, Any]:
        """Everything that is reported."""
        all_rounds = merge(self.rounds)
        answers = max(all_rounds.answers, 1)
        speeds = [result.ok / result.seconds for result in self.rounds]
        return {
            "target": self.target,
            "clients": self.load.clients,
            "rate": self.load.rate,
            "requests": all_rounds.answers,
            "requests_per_second": round(statistics.median(speeds), 1),
            "requests_per_second_by_round": [round(speed, 1) for speed in speeds],
            "p50_ms": round(percentile(all_rounds.latencies, 50), 2),
            "p99_ms": round(percentile(all_rounds.latencies, 99), 2),
            "p999_ms": round(percentile(all_rounds.latencies, 99.9), 2),
            "errors": all_rounds.errors,
            "server_cpu_ms": round(all_rounds.server_cpu_seconds / answers * 1e3, 3),
            "generator_cpu_ms": round(all_rounds.generator_cpu_seconds / answers * 1e3, 3),
            "late_p99_ms": round(all_rounds.late_p99_ms, 2),
            "memory_mb": round(self.memory_mb),
            "peak_memory_mb": round(self.peak_memory_mb),
        }


def markdown(cells: Sequence[Cell]) -> str:
    """One row for each cell; loads together, so that targets stand under each other."""
    rows = [_HEAD]
    for cell in sorted(cells, key=lambda c: (c.load.rate, c.load.clients)):
        f = cell.figures()
        rounds = "–".join(f"{speed:.0f}" for speed in _ends(f["requests_per_second_by_round"]))
        load = f"{f['rate']:g}/s" if f["rate"] else f"{f['clients']} clients"
        errors = ", ".join(f"{count} {code}" for code, count in f["errors"].items()) or "0"
        rows.append(
            f"| {f['target']} | {load} | {f['requests_per_second']:.1f} ({rounds}) | {f['p50_ms']:.1f} "
            f"| {f['p99_ms']:.1f} | {f['p999_ms']:.1f} | {errors} | {f['server_cpu_ms']:.2f} "
            f"| {f['generator_cpu_ms']:.2f} | {f['peak_memory_mb']} |"
        )
    return "\n".join(rows)


def _ends(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]


def comparison(cells: Sequence[Cell], *, base: str) -> str:
    """Every target as a multiple of `base` under the same closed loop: requests/s, p50 and p99.

    Only such ratios mean something on another machine. The last column is what a request costs in processor time
    beyond the bare call under the same load, where that was measured; below zero where batching saves more than
    the server costs.
    """
    figures = {cell.key: cell.figures() for cell in cells if not cell.load.rate}
    rows = [
        f"| server | clients | requests/s : {base} | p50 | p99 | CPU ms/request beyond the bare call |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for (target, clients, rate), f in sorted(figures.items(), key=lambda entry: entry[0][1]):
        other, bare = figures.get((base, clients, rate)), figures.get(("bare call", clients, rate))
        if other and target != base:
            ratios = [f[key] / other[key] for key in ("requests_per_second", "p50_ms", "p99_ms")]
            beyond = f"{f['server_cpu_ms'] - bare['server_cpu_ms']:+.2f}" if bare else ""
            rows.append(
                f"| {target} | {clients} | " + " | ".join(f"{r:.2f}" for r in ratios) + f" | {beyond} |"
            )
    return "\n".join(rows)
