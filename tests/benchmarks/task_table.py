"""The Markdown table of the tasks that were measured."""

from __future__ import annotations

from typing import Any


def as_table(results: dict[str, dict[str, Any]]) -> str:
    """The Markdown table of everything measured so far.

    Args:
        results: by task: date, machine, pipeline, and where they were measured tfidf and peer.
    """
    lines = [
        "| task | train / eval | accuracy | macro-F1 | wall time | peak memory | TF-IDF + LR | peer | measured |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for task, result in sorted(results.items()):
        ours, tfidf, peer = (result.get(kind) for kind in ("pipeline", "tfidf", "peer"))
        cells = [
            task,
            f"{tfidf['num_train']:,} / {tfidf['num_eval']:,}" if tfidf else "",
            f"{ours['accuracy']:.1%}" if ours else "",
            f"{ours['macro_f1']:.1%}" if ours else "",
            _minutes(ours["wall_seconds"]) if ours else "",
            f"{ours['peak_memory_gb']:.1f} GB" if ours else "",
            f"{tfidf['accuracy']:.1%} / {tfidf['macro_f1']:.1%}" if tfidf else "",
            f"{peer['accuracy']:.1%} / {peer['macro_f1']:.1%}, {_minutes(peer['wall_seconds'])}"
            if peer
            else "",
            result["date"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    machines = sorted({result["machine"] for result in results.values()})
    note = "TF-IDF and peer: accuracy / macro-F1, on the same examples."
    lines += ["", f"{note} Measured on: {'; '.join(machines)}."]
    return "\n".join(lines) + "\n"


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
