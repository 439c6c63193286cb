"""What the run took and what it was: time by component, settings, code and versions."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from bert_pipeline.metadata import run_record
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Figure, Section, Table, Text
from bert_pipeline.report.source import Source

_ROW_POINTS = 18.0
_PACKAGES = (
    "tfx",
    "tensorflow",
    "tensorflow-text",
    "tensorflow-model-analysis",
    "ml-metadata",
    "apache-beam",
)


def time_section(source: Source) -> Section:
    """A bar for each component; cached ones are marked."""
    components = source.summary.get("components", {})
    if not components:
        nodes = [
            (e.node, e.state.lower())
            for e in map(source.history.executions.__getitem__, source.run.executions)
        ]
        table = Table("What ran", ("component", "state"), tuple(nodes), words=True)
        return Section("time", "Time", (Text("A run that stops records no times."), table))
    total = source.summary["wall_seconds"]
    return Section("time", "Time", (_figure(components, total),))


def _figure(components: Mapping[str, Mapping[str, Any]], total: float) -> Figure:
    names = list(components)
    with plots.plot("time", height=60 + _ROW_POINTS * len(names)) as drawn:
        axes = drawn.figure.subplots()
        seconds = [float(components[name]["seconds"]) for name in names]
        axes.barh(range(len(names)), seconds, height=0.6, color=plots.SERIES[0])
        for row, name in enumerate(names):
            axes.text(seconds[row], row, f" {_took(components[name])}", va="center", fontsize=10)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, max([*seconds, 0.1]) * 1.15)
        axes.set_xlabel("seconds")
    longest = max(names, key=lambda name: components[name]["seconds"])
    cached = sum(component["state"] == "cached" for component in components.values())
    finding = (
        f"The run took {total:.1f} s; {longest} took longest, {_took(components[longest])}; {cached} of {len(names)} "
        "components were cached."
    )
    rows = tuple((name, components[name]["state"], f"{components[name]['seconds']:.1f}") for name in names)
    return Figure(
        "time", drawn.svg, finding, Table("Time by component", ("component", "state", "seconds"), rows)
    )


def _took(component: Mapping[str, Any]) -> str:
    return f"{component['seconds']:.1f} s" if component["state"] == "ran" else str(component["state"])


def settings_section(source: Source) -> Section:
    """Every setting, and what else made the run what it is."""
    properties = source.run.properties
    names = {
        "task file": run_record.TASK_FILE,
        "data": run_record.DATA_DIR,
        "encoder": run_record.ENCODER,
        "encoder's SHA-256": run_record.ENCODER_SHA256,
        "schema's SHA-256": run_record.SCHEMA_SHA256,
        "code's SHA-256": run_record.CODE_SHA256,
        "commit": run_record.COMMIT,
    }
    facts = [("run", f"{source.run.number}, {source.run.name}")]
    facts += [(title, str(properties[key])) for title, key in names.items() if key in properties]
    settings = run_record.settings_of(properties)
    rows = tuple((name, run_record.shown(value)) for name, value in settings.items())
    return Section(
        "settings",
        "Settings and versions",
        (
            Table("The run", ("what", "value"), tuple(facts), words=True),
            Table("Every setting of the task", ("setting", "value"), rows, folded=True, words=True),
            Table(
                "Versions, where this page was written", ("package", "version"), tuple(versions()), words=True
            ),
        ),
    )


def versions() -> list[tuple[str, str]]:
    """Python and the packages that a model depends on."""
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append((name, "not installed"))
    return found
