"""How the training went: loss, accuracy and learning rate, from the Trainer's TensorBoard files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Figure, Section, Table, Text, number
from bert_pipeline.report.source import Source

# (split, name) -> steps and values.
Curves: TypeAlias = Mapping[tuple[str, str], tuple[list[int], list[float]]]

_SPLITS = ("train", "eval")


def section(source: Source) -> Section:
    """The curves, and the epochs in a table."""
    folder = source.folder("Trainer", "model_run")
    report = folder / "training.json" if folder else None
    if folder is None or report is None or not report.exists():
        return Section("training", "Training", (Text("There is no record of a training."),))
    facts = json.loads(report.read_text(encoding="utf-8"))
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
        f"those of epoch {facts['best_epoch']}."
    )
    return f"{text} {facts['warm_start']}" if facts.get("warm_start") else text


def _figure(curves: Curves, facts: Mapping[str, Any]) -> Figure:
    with plots.plot("training", height=430) as drawn:
        panels = drawn.figure.subplots(3, 1, sharex=True)
        for axes, name, title in zip(
            panels, ("loss", "accuracy", "learning_rate"), ("loss", "accuracy", "learning rate"), strict=True
        ):
            for i, split in enumerate(_SPLITS):
                if (split, name) in curves:
                    style = {
                        "linestyle": plots.DASHES[i],
                        "marker": "" if i == 0 else "D",
                        "color": plots.SERIES[i],
                    }
                    axes.plot(*curves[split, name], label=split, markersize=5, **style)
            axes.set_ylabel(title)
        panels[0].legend(loc="upper right", ncols=2)
        panels[0].set_ylim(bottom=0)
        panels[2].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        panels[2].set_xlabel("step")
    history = facts["history"]
    columns = [history[key] for key in ("cross_entropy", "accuracy", "val_cross_entropy", "val_accuracy")]
    epochs = enumerate(zip(*columns, strict=True), start=1)
    rows = tuple((str(epoch), *map(number, values)) for epoch, values in epochs)
    header = ("epoch", "train loss", "train accuracy", "eval loss", "eval accuracy")
    return Figure("training", drawn.svg, _finding(facts), Table("Each epoch", header, rows))


def _finding(facts: Mapping[str, Any]) -> str:
    history, best = facts["history"], facts["best_epoch"] - 1
    return (
        f"Loss went from {number(history['cross_entropy'][0])} to {number(history['cross_entropy'][-1])} on the "
        f"train split and from {number(history['val_cross_entropy'][0])} to {number(history['val_cross_entropy'][-1])} "
        f"on the eval split; eval accuracy was best, {number(history['val_accuracy'][best])}, in epoch {best + 1}."
    )
