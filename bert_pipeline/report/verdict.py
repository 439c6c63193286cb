"""The first section: what became of the run, and why."""

from __future__ import annotations

from collections.abc import Iterator

from bert_pipeline.report.blocks import Block, List, Part, Pre, Section, Text, number
from bert_pipeline.report.source import Source

_HEADS = {
    "pushed": "Pushed",
    "refused": "Refused",
    "in service already": "Unchanged",
    "stopped": "Stopped",
    "": "Not finished",
}


def headline(source: Source) -> str:
    """One word for the title: Pushed, Refused, Unchanged, Stopped, Not finished."""
    return _HEADS.get(source.outcome, source.outcome)


def section(source: Source) -> Section:
    """Verdict, reasons and notes."""
    parts = [Part(title, (List(items),)) for title, items in _lists(source) if items]
    return Section("verdict", "Verdict", tuple(_sentences(source)), tuple(parts))


def _sentences(source: Source) -> Iterator[Block]:
    summary, outcome = source.summary, source.outcome
    version = summary.get("version", "")
    if outcome == "pushed":
        beside = "also beside the baseline" if summary.get("baseline") else "there was no baseline yet"
        yield Text(f"Every gate held, {beside}. Pushed as version {version}.")
    elif outcome == "refused":
        yield Text("The candidate was refused; what was in service stays.")
    elif outcome == "in service already":
        yield Text(f"Version {version} in service is this very model; nothing was pushed.")
    elif outcome == "stopped":
        yield Text("The run stopped before there was a verdict; what was in service stays. It said:")
        yield Pre(source.error, label="Why the run stopped")
    else:
        yield Text("The run was killed, or goes on still: it recorded no end.")
    if summary:
        metrics = summary["metrics"]
        yield Text(
            f"On all {summary['num_examples']:,} evaluated examples: accuracy {number(metrics.get('accuracy'))}"
            f", macro F1 {number(metrics.get('macro_f1'))}."
        )
    spans = summary.get("trained_on_spans")
    if spans:
        plural = "s" if len(spans) > 1 else ""
        yield Text(
            f"Trained on span{plural} {', '.join(spans)}; evaluated on span {summary['evaluated_on_span']}."
        )


def _lists(source: Source) -> Iterator[tuple[str, tuple[str, ...]]]:
    summary = source.summary
    failed = tuple(
        f"{name} {component['state']}; the push is not affected"
        for name, component in summary.get("components", {}).items()
        if component["state"] in ("failed", "skipped")
    )
    # Of a model that is in service already, the only reason is the sentence above.
    reasons = () if source.outcome == "in service already" else tuple(summary.get("reasons", ()))
    yield "Reasons", reasons
    yield "Gates that held", tuple(summary.get("held", ()))
    yield "Slices behind the others", tuple(summary.get("behind", ()))
    yield "Warnings", failed
    yield "Notes", (*summary.get("data_notes", ()), *summary.get("notes", ()))
