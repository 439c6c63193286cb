"""Anomalies of the data, and how far it moved from the span before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bert_pipeline.components.example_validator import REPORT_FILE
from bert_pipeline.data.drift import STATISTICS_FILE, Drift, Threshold, compare, read_statistics
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Block, Figure, Pre, Section, Table, Text, number
from bert_pipeline.report.source import Source

_SPLIT = "train"  # eval is cut from the same data
_ROW_POINTS = 20.0


def section(source: Source) -> Section:
    """ExampleValidator's report, and a plot of the distances."""
    blocks: list[Block] = []
    text = _anomalies(source)
    if not text:
        blocks.append(Text("The data was not validated: the run stopped before."))
    elif "\n" in text.strip():
        blocks.append(Pre(text, label="Report of ExampleValidator"))
    else:
        blocks.append(Text(text.strip()))
    drifts = _drifts(source)
    blocks.append(_figure(drifts) if drifts else Text("There is no span before to compare with."))
    return Section("drift", "Anomalies and drift", tuple(blocks))


def _anomalies(source: Source) -> str:
    """The report of this run's data. Where it stopped the run, there is no artifact, only the file for people."""
    execution, folder = source.execution("ExampleValidator"), source.folder("ExampleValidator", "anomalies")
    if folder and (folder / REPORT_FILE).exists():
        return (folder / REPORT_FILE).read_text(encoding="utf-8")
    if execution is None:
        return ""
    path = Path(str(execution.properties.get("report_path", "")))
    if execution.id == _last_validation(source) and path.is_file():
        return path.read_text(encoding="utf-8")
    return source.error


def _last_validation(source: Source) -> int:
    """Another run's validation would have written that file anew."""
    return max(e.id for e in source.history.executions.values() if e.node == "ExampleValidator")


def _drifts(source: Source) -> list[Drift]:
    execution = source.execution("ExampleValidator")
    now, before = (
        source.given("ExampleValidator", "statistics"),
        source.given("ExampleValidator", "reference_statistics"),
    )
    if not (execution and now and before):
        return []
    folders = [Path(artifacts[0].uri) / f"Split-{_SPLIT}" for artifacts in (now, before)]
    if not all((folder / STATISTICS_FILE).exists() for folder in folders):
        return []
    limits = {
        name: Threshold(*pair) for name, pair in json.loads(str(execution.properties["limits"])).items()
    }
    return compare(read_statistics(folders[0]), read_statistics(folders[1]), limits)


def _figure(drifts: Sequence[Drift]) -> Figure:
    with plots.plot("drift", height=80 + _ROW_POINTS * len(drifts)) as drawn:
        axes = drawn.figure.subplots()
        rows = range(len(drifts))
        axes.barh(rows, [d.value for d in drifts], height=0.6, color=plots.SERIES[0], label="distance")
        axes.plot([d.threshold for d in drifts], rows, "|", color=plots.SERIES[1], markersize=15, markeredgewidth=2.5,
                  label="limit", linestyle="none")  # fmt: skip
        axes.set_yticks(list(rows), [d.column for d in drifts])
        axes.set_ylim(len(drifts) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("distance from the span before, 0 to 1")
        drawn.figure.legend(loc="outside upper right", ncols=2)
    table = Table(
        f"Distances of the {_SPLIT} split from the span before",
        ("column", "distance", "value", "limit", "verdict"),
        tuple((d.column, d.distance, number(d.value), f"{d.threshold:g}", _verdict(d)) for d in drifts),
    )
    told = [d for d in drifts if d.is_breach or d.is_note]
    most = f"{drifts[0].column} moved most, by {drifts[0].value:.3f}."
    count = f"{len(told)} of {len(drifts)} columns moved further than their limit and than chance explains."
    return Figure("drift", drawn.svg, f"{count} {most}", table)


def _verdict(drift: Drift) -> str:
    if drift.is_breach:
        return "stopped the run"
    return "noted" if drift.is_note else "within its limit, or within chance"
