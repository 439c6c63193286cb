"""Training curves, lineage, time by component, settings and versions of a run."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from bert_pipeline.history.lineage import Picture, picture, served_pushes
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_record import chosen_on, read_record
from bert_pipeline.report.page import Figure, Section, Table, number
from bert_pipeline.report.plots import SERIES, Axes, name_rows, plot, short
from bert_pipeline.report.source import Source
from bert_pipeline.serving_folder.served import served_versions

# (split, name) -> steps and values.
Curves: TypeAlias = Mapping[tuple[str, str], tuple[list[int], list[float]]]

# The Trainer's folders of curves; eval: of older trainings that selected the epoch on the eval split.
_SPLITS = ("train", "held_out", "eval")
_PACKAGES = (
    "tfx",
    "tensorflow",
    "tensorflow-text",
    "tensorflow-model-analysis",
    "ml-metadata",
    "apache-beam",
)


def training(source: Source) -> Section:
    """The curves, and the epochs in a table."""
    folder = source.folder("Trainer", "model_run")
    facts = read_record(folder) if folder else {}
    if folder is None or not facts:
        return Section("training", "Training", ("There is no record of a training.",))
    epochs = len(facts["history"]["accuracy"])
    text = (
        f"{epochs} epoch{'s' * (epochs > 1)} over {facts['num_train_examples']:,} examples, {facts['num_steps']:,} "
        f"steps, {facts['seconds']:.0f} s at {facts['examples_per_second']:.0f} examples/s; the weights are "
        f"those of {chosen_on(facts)}. {facts.get('warm_start', '')}"
    )
    return Section("training", "Training", (text.strip(), _curves_figure(read_curves(folder), facts)))


def read_curves(model_run: Path) -> Curves:
    """Reads the event files of a training.

    Args:
        model_run: folder of Trainer's ModelRun.
    """
    curves: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for split in _SPLITS:
        for path in sorted((model_run / split).glob("events.*")):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    steps, values = curves.setdefault((split, value.tag), ([], []))
                    steps.append(int(event.step))
                    values.append(float(tf.make_ndarray(value.tensor)))
    return curves


def _curves_figure(curves: Curves, facts: Mapping[str, Any]) -> Figure:
    with plot(height=430) as (drawn, svg):
        panels = drawn.subplots(3, 1, sharex=True)
        for axes, name in zip(panels, ("loss", "accuracy", "learning_rate"), strict=True):
            for split, style, color in zip(_SPLITS, ("-", "D--", "D:"), SERIES, strict=False):
                if (split, name) in curves:
                    label = split.replace("_", " ")
                    axes.plot(*curves[split, name], style, label=label, color=color, markersize=5)
            axes.set_ylabel(name.replace("_", " "))
        panels[0].legend(loc="upper right", ncols=2)
        panels[0].set_ylim(bottom=0)
        panels[2].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        panels[2].set_xlabel("step")
    history = facts["history"]
    other = "held-out" if "chosen_on" in facts else "eval"  # the split that selected the epoch
    header = {"cross_entropy": "train loss", "accuracy": "train accuracy"}
    header |= {"val_cross_entropy": f"{other} loss", "val_accuracy": f"{other} accuracy"}
    keys = [key for key in header if key in history]
    epochs = enumerate(zip(*(history[key] for key in keys), strict=True), start=1)
    rows = tuple((str(epoch), *map(number, values)) for epoch, values in epochs)
    table = Table("Each epoch", ("epoch", *(header[key] for key in keys)), rows)
    return Figure(svg.getvalue(), _finding(facts, other), table)


def _finding(facts: Mapping[str, Any], other: str) -> str:
    history, best = facts["history"], facts["best_epoch"]
    first, last = (number(history["cross_entropy"][i]) for i in (0, -1))
    text = f"Loss went from {first} to {last} on what was trained on"
    if "val_cross_entropy" not in history:
        return f"{text}; {chosen_on(facts)}."
    first, last = (number(history["val_cross_entropy"][i]) for i in (0, -1))
    return (
        f"{text} and from {first} to {last} on the {other} texts, where accuracy was "
        f"{number(history['val_accuracy'][best - 1])} in epoch {best}, whose weights were kept."
    )


def lineage(source: Source) -> Section:
    """The graph of the run's model, its ancestors and descendants, and the same as text."""
    model = source.artifact("Trainer", "model")
    if model is None:
        return Section("lineage", "Lineage", ("The run made no model.",))
    served = served_pushes(source.history, served_versions(source.paths.push_destination))
    drawn = picture(source.history, model_id=model.id, served=served)
    rows = layers(drawn)
    with plot(height=80 * len(rows), width=142 * max(map(len, rows))) as (figure, svg):
        draw_lineage(figure.subplots(), drawn)
    words = {name: ", ".join(lines) for name, lines in drawn.boxes.items()}
    cells = tuple((words[a], node, words[b]) for a, b, node in drawn.arrows)
    table = Table("Lineage in words", ("from", "component", "to"), cells, words=True)
    finding = f"Model {model.id} and the {len(drawn.boxes) - 1} artifacts that led to it or were made of it."
    return Section("lineage", "Lineage", (Figure(svg.getvalue(), finding, table),))


def layers(drawn: Picture) -> list[list[str]]:
    """Names of the boxes by layer: each is below all its ancestors.

    Example:
        Of the arrows a1 -> a2, a1 -> a3 and a2 -> a3: [["a1"], ["a2"], ["a3"]].
    """
    pairs = {(source, target) for source, target, _ in drawn.arrows}
    depth = dict.fromkeys(drawn.boxes, 0)
    for _ in drawn.boxes:  # the longest path bounds the number of rounds
        for source, target in pairs:
            depth[target] = max(depth[target], depth[source] + 1)
    # A box without ancestors is directly above its first descendant.
    for name in set(drawn.boxes) - {target for _, target in pairs}:
        depth[name] = min((depth[target] - 1 for source, target in pairs if source == name), default=0)
    return [[name for name in drawn.boxes if depth[name] == level] for level in sorted(set(depth.values()))]


def draw_lineage(axes: Axes, drawn: Picture) -> None:
    """Draws each layer as a row of boxes, with an arrow for each step from box to box."""
    rows = layers(drawn)
    place = {name: ((i + 0.5) / len(row), -y) for y, row in enumerate(rows) for i, name in enumerate(row)}
    maker = {target: f"by {node}" for _, target, node in drawn.arrows}
    for source, target in dict.fromkeys((a, b) for a, b, _ in drawn.arrows):
        (x1, y1), (x2, y2) = place[source], place[target]
        arrow = {"arrowstyle": "->", "color": "gray"}
        axes.annotate("", (x2, y2 + 0.2), (x1, y1), arrowprops=arrow)
    for name, lines in drawn.boxes.items():
        text = "\n".join(short(line, letters=21) for line in (*lines[:2], maker.get(name, "")) if line)
        box = {"boxstyle": "round", "facecolor": "white", "linewidth": 2.5 if name == drawn.marked else 0.8}
        axes.text(*place[name], text, ha="center", va="center", fontsize=10, bbox=box)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.5 - len(rows), 0.5)
    axes.axis("off")


def time(source: Source) -> Section:
    """A bar per component; cached ones are marked."""
    components = source.summary.get("components", {})
    if components:
        return Section("time", "Time", (_time_figure(components, source.summary["wall_seconds"]),))
    ran = [source.history.executions[i] for i in source.run.executions]
    rows = tuple((execution.node, execution.state.lower()) for execution in ran)
    table = Table("What ran", ("component", "state"), rows, words=True)
    return Section("time", "Time", ("A run that stops records no times.", table))


def _time_figure(components: Mapping[str, Mapping[str, Any]], total: float) -> Figure:
    names = list(components)
    seconds = [float(components[name]["seconds"]) for name in names]
    took = {
        name: f"{found['seconds']:.1f} s" if found["state"] == "ran" else str(found["state"])
        for name, found in components.items()
    }
    with plot(height=60 + 18 * len(names)) as (drawn, svg):
        axes = drawn.subplots()
        bars = axes.barh(range(len(names)), seconds, height=0.6, color=SERIES[0])
        axes.bar_label(bars, list(took.values()), padding=3)
        name_rows(axes, names)
        axes.set_xlim(0, max([*seconds, 0.1]) * 1.15)
        axes.set_xlabel("seconds")
    longest = max(names, key=lambda name: components[name]["seconds"])
    cached = sum(component["state"] == "cached" for component in components.values())
    finding = (
        f"The run took {total:.1f} s; {longest} took longest, {took[longest]}; {cached} of {len(names)} "
        "components were cached."
    )
    rows = tuple((name, components[name]["state"], f"{components[name]['seconds']:.1f}") for name in names)
    table = Table("Time by component", ("component", "state", "seconds"), rows)
    return Figure(svg.getvalue(), finding, table)


def settings(source: Source) -> Section:
    """Every setting, and the other properties that identify the run."""
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
    rows = tuple((name, run_record.shown(v)) for name, v in run_record.settings_of(properties).items())
    blocks = (
        Table("The run", ("what", "value"), tuple(facts), words=True),
        Table("Every setting of the task", ("setting", "value"), rows, folded=True, words=True),
        Table("Versions, where this page was written", ("package", "version"), tuple(versions()), words=True),
    )
    return Section("settings", "Settings and versions", blocks)


def versions() -> list[tuple[str, str]]:
    """Python and the packages that a model depends on."""
    return [("python", platform.python_version()), *((p, importlib.metadata.version(p)) for p in _PACKAGES)]
