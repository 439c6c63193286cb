"""How the training went: loss, accuracy and learning rate, from the Trainer's TensorBoard files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from bert_pipeline.metadata.run_record import chosen_on, read_record
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Figure, Section, Table, Text, number
from bert_pipeline.report.source import Source

# (split, name) -> steps and values.
Curves: TypeAlias = Mapping[tuple[str, str], tuple[list[int], list[float]]]

# The Trainer's folders of curves; eval: of a training that chose its epoch on the split that the gates read.
_SPLITS = ("train", "held_out", "eval")


def section(source: Source) -> Section:
    """The curves, and the epochs in a table."""
    folder = source.folder("Trainer", "model_run")
    facts = read_record(folder) if folder else {}
    if folder is None or not facts:
        return Section("training", "Training", (Text("There is no record of a training."),))
    return Section("training", "Training", (Text(_sentence(facts)), _figure(read_curves(folder), facts)))


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


def _sentence(facts: Mapping[str, Any]) -> str:
    epochs = len(facts["history"]["accuracy"])
    text = (
        f"{epochs} epoch{'s' * (epochs > 1)} over {facts['num_train_examples']:,} examples, {facts['num_steps']:,} "
        f"steps, {facts['seconds']:.0f} s at {facts['examples_per_second']:.0f} examples/s; the weights are "
        f"those of {chosen_on(facts)}."
    )
    return f"{text} {facts['warm_start']}" if facts.get("warm_start") else text


def _figure(curves: Curves, facts: Mapping[str, Any]) -> Figure:
    with plots.plot("training", height=430) as drawn:
        panels = drawn.figure.subplots(3, 1, sharex=True)
        for axes, name, title in zip(
            panels, ("loss", "accuracy", "learning_rate"), ("loss", "accuracy", "learning rate"), strict=True
        ):
            shown = [split for split in _SPLITS if (split, name) in curves]
            for i, split in enumerate(shown):
                style = {
                    "linestyle": plots.DASHES[i],
                    "marker": "" if i == 0 else "D",
                    "color": plots.SERIES[i],
                }
                axes.plot(*curves[split, name], label=split.replace("_", " "), markersize=5, **style)
            axes.set_ylabel(title)
        panels[0].legend(loc="upper right", ncols=2)
        panels[0].set_ylim(bottom=0)
        panels[2].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        panels[2].set_xlabel("step")
    history, other = facts["history"], _other(facts)
    header = {"cross_entropy": "train loss", "accuracy": "train accuracy"}
    header |= {"val_cross_entropy": f"{other} loss", "val_accuracy": f"{other} accuracy"}
    keys = [key for key in header if key in history]
    epochs = enumerate(zip(*(history[key] for key in keys), strict=True), start=1)
    rows = tuple((str(epoch), *map(number, values)) for epoch, values in epochs)
    return Figure(
        "training",
        drawn.svg,
        _finding(facts),
        Table("Each epoch", ("epoch", *(header[key] for key in keys)), rows),
    )


def _other(facts: Mapping[str, Any]) -> str:
    """The name of what the epoch was chosen on."""
    return "held-out" if "chosen_on" in facts else "eval"


def _finding(facts: Mapping[str, Any]) -> str:
    history, best, other = facts["history"], facts["best_epoch"] - 1, _other(facts)
    first, last = (number(history["cross_entropy"][i]) for i in (0, -1))
    text = f"Loss went from {first} to {last} on what was trained on"
    if "val_cross_entropy" not in history:
        return f"{text}; {chosen_on(facts)}."
    first, last = (number(history["val_cross_entropy"][i]) for i in (0, -1))
    return (
        f"{text} and from {first} to {last} on the {other} texts, where accuracy was "
        f"{number(history['val_accuracy'][best])} in epoch {best + 1}, whose weights were kept."
    )
