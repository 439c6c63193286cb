"""The monitor's report as text, as JSON, and as a file for Prometheus."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import prometheus_client

from bert_pipeline.data.drift import Drift
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.judging.sentences import in_table
from bert_pipeline.monitoring.verdict import Change, Level, Verdict
from bert_pipeline.monitoring.weak_labels import Agreement
from bert_pipeline.running import notices
from bert_pipeline.settings import typed


@dataclasses.dataclass(frozen=True)
class Report:
    """The monitor's report."""

    task: str
    version: int
    metric: str
    num_texts: int
    seconds: tuple[int, int]
    """Unix time of the first and of the last text."""

    told: tuple[str, ...]
    """What was read and what was left out, one sentence each."""

    changes: tuple[Change, ...]
    drifts: tuple[Drift, ...]
    agreements: tuple[Agreement, ...]
    verdict: Verdict
    look: int = 1
    """Number of this look at the version's labels, from 1; reports on fewer labelled texts are earlier looks."""


def as_text(report: Report) -> str:
    """Formats the report as text."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    first, last = (f"{datetime.fromtimestamp(s, timezone.utc):%Y-%m-%d %H:%M}" for s in report.seconds)
    yield f"task {report.task}, version {report.version}: {report.num_texts:,} texts from {first} to {last} UTC"
    yield from (f"          {sentence}" for sentence in report.told)
    if report.changes:
        width = max(12, *(len(change.slice) + 2 for change in report.changes))
        yield ""
        yield f"{'slice':<{width}}{'labelled':>9}{report.metric + ' now':>24}{'at the push':>14}{'change':>9}"
        for change in report.changes:
            yield (
                f"{change.slice or 'all data':<{width}}{change.num_examples:>9}{_interval(change.now):>24}"
                f"{in_table(change.before.value):>14}{in_table(-change.drop, sign='+'):>9}"
            )
    yield ""
    yield from (f"drift     {drift.explanation}" for drift in report.drifts[:3])
    yield from (f"weak      {agreement.sentence}" for agreement in report.agreements)
    yield from (f"note      {note}" for note in report.verdict.notes)
    yield f"verdict   {report.verdict.level.name}"
    yield from (
        f"          {reason.level.name.lower()}: {reason.sentence}" for reason in report.verdict.reasons
    )
    if report.verdict.level is Level.FINE:
        yield "          nothing lies beyond its limits"
    yield f"next      {_next(report)}"


def _next(report: Report) -> str:
    if report.verdict.level is Level.RETRAIN:
        return "put the labelled texts beside the data as a new span, then: " + typed.command(
            "pipeline", task=report.task, span="..."
        )
    if report.verdict.level is Level.WATCH:
        return "label more of these texts, then: " + typed.command("monitor", task=report.task, labels="...")
    return "nothing"


def _interval(value: Interval) -> str:
    is_told = value.is_known and not math.isnan(value.value)
    return in_table(value.value) + (f" ±{in_table(value.half_width)}" if is_told else "")


def as_json(report: Report) -> str:
    """Formats the report as JSON; undefined values are null."""
    values = {
        "task": report.task,
        "version": report.version,
        "verdict": report.verdict.level.name.lower(),
        "reasons": [
            {"level": r.level.name.lower(), "slice": r.slice, "sentence": r.sentence}
            for r in report.verdict.reasons
        ],
        "notes": list(report.verdict.notes),
        "look": report.look,
        "metric": report.metric,
        "num_texts": report.num_texts,
        "first_second": report.seconds[0],
        "last_second": report.seconds[1],
        "told": list(report.told),
        "slices": [
            {
                "slice": c.slice,
                "num_labelled": c.num_examples,
                "now": _or_null(c.now.value),
                "interval": [_or_null(c.now.low), _or_null(c.now.high)],
                "at_push": _or_null(c.before.value),
                "p_value": _or_null(c.p_value),
            }
            for c in report.changes
        ],
        "drift": [
            {"column": d.column, "distance": d.distance, "value": d.value, "limit": d.threshold}
            for d in report.drifts
        ],
        "agreement": [
            {"with": a.whom, "num_texts": a.num_texts, "share": round(a.share, 6)} for a in report.agreements
        ],
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def looks_before(folder: Path, *, version: int, num_texts: int, num_labelled: int) -> tuple[int, int]:
    """Counts the reports in a folder on fewer texts of a version, and on fewer of its labels.

    Reports on the same number of texts count as one look; likewise for labels.
    """
    sizes = set()
    for path in folder.glob("*-*.json"):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["version"] == version:
                labelled = [row["num_labelled"] for row in values["slices"] if not row["slice"]]
                sizes.add((int(values["num_texts"]), sum(labelled)))
        except (ValueError, KeyError, TypeError, OSError):
            continue  # written by an older version, or damaged: does not count as a look
    texts = {size[0] for size in sizes if size[0] < num_texts}
    return len(texts), len({size[1] for size in sizes if 0 < size[1] < num_labelled})


def as_prometheus(report: Report) -> str:
    """Writes the report for node_exporter's textfile collector.

    https://github.com/prometheus/node_exporter#textfile-collector
    """
    registry = prometheus_client.CollectorRegistry()
    task, version = report.task, str(report.version)

    def gauge(name: str, text: str, labels: Sequence[str] = ()) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(
            f"bert_monitor_{name}", text, ("task", "version", *labels), registry=registry
        )

    gauge("verdict", "0 fine, 1 watch, 2 retrain").labels(task, version).set(report.verdict.level)
    gauge("texts", "Logged texts in the report").labels(task, version).set(report.num_texts)
    gauge("last_text_timestamp_seconds", "Unix time of the last text").labels(task, version).set(
        report.seconds[1]
    )
    labelled = gauge("labelled_texts", "Labelled texts, by slice", ["slice"])
    now = gauge("metric", "The metric on labelled texts, by slice", ["slice", "metric"])
    before = gauge("metric_at_push", "The metric at the evaluation before the push", ["slice", "metric"])
    for change in report.changes:
        labelled.labels(task, version, change.slice).set(change.num_examples)
        for one, value in ((now, change.now.value), (before, change.before.value)):
            if not math.isnan(value):
                one.labels(task, version, change.slice, report.metric).set(value)
    drift = gauge("drift", "Distance of the texts from those of the training, 0 to 1", ["column"])
    for each in report.drifts:
        drift.labels(task, version, each.column).set(each.value)
    agreement = gauge("agreement", "Share of the texts on which another agrees, 0 to 1", ["whom"])
    for other in report.agreements:
        agreement.labels(task, version, other.whom).set(other.share)
    return prometheus_client.generate_latest(registry).decode()


def event_of(report: Report) -> notices.Event:
    """The event of a verdict on live traffic."""
    return notices.event(
        report.verdict.level.name.lower(),
        task=report.task,
        version=str(report.version),
        reasons=tuple(reason.sentence for reason in report.verdict.reasons),
    )
