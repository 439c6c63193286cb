"""The folder that TensorBoard reads: one folder a training, with links to its curves and what is added to them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp

from bert_pipeline.board.graph import read_graph
from bert_pipeline.board.projector import write_projector
from bert_pipeline.board.trainings import REPORT_FILE, Setting, Training

# What the folder of a training was made from; where it is the same, the folder stays as it is.
_MADE_FROM = "made_from.json"
_PARTIAL = ".partial"
_EVENTS = "events.out.tfevents."  # TensorFlow's name for files of events

# The Trainer's folders of curves, see modules/bert_callbacks.py; eval: of trainings that chose their epoch there.
_CURVES = ("train", "held_out", "eval")

# Curves whose last value stands beside the settings.
_COMPARED = (
    ("held_out", "accuracy"),
    ("held_out", "loss"),
    ("train", "loss"),
    ("train", "examples_per_second"),
)

# What the last evaluation of a model measured, as a point at the last step.
_EVALUATION = "evaluation/"


def collect(folder: Path, trainings: Sequence[Training], *, say: Callable[[str], None]) -> None:
    """Brings the folder up to date: a training that is gone goes, a new one comes, the others stay.

    Args:
        folder: `out/<task>/tensorboard`; what else lies in it is left alone, and shown.
        trainings: to show.
        say: given a line for each one that is added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {training.name: _made_from(training) for training in trainings}
    for path in folder.iterdir():
        if _is_ours(path) and wanted.get(path.name) != _read(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for training in trainings:
        if not (folder / training.name).exists():
            partial = folder / (_PARTIAL + training.name)
            partial.mkdir()
            say(f"  {training.name}: {_write(partial, training)}")
            (partial / _MADE_FROM).write_text(wanted[training.name], encoding="utf-8")
            partial.rename(folder / training.name)
    _write_columns(folder, trainings)


def _is_ours(path: Path) -> bool:
    """Whether this file wrote it: a training, half a one, or the columns of the HPARAMS page."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return path.name.startswith(_PARTIAL) or (path / _MADE_FROM).is_file()
    return path.name.startswith(_EVENTS)


def _made_from(training: Training) -> str:
    return json.dumps(dataclasses.asdict(training), default=str, indent=2, sort_keys=True)


def _read(path: Path) -> str:
    try:
        return (path / _MADE_FROM).read_text(encoding="utf-8")
    except OSError:
        return ""


def _write(folder: Path, training: Training) -> str:
    """Fills the folder of a training; gives what it shows, for people."""
    shown = []
    for name in _CURVES:
        if (training.model_run_dir / name).is_dir():
            os.symlink(training.model_run_dir / name, folder / name, target_is_directory=True)
            shown.append(f"curves of {name}")
    with tf.summary.create_file_writer(str(folder)).as_default(step=_num_steps(training)):
        # A training is a trial of its own, even where two have the same settings.
        hp.hparams(dict(training.settings), trial_id=training.name)
        shown.append(f"{len(training.settings)} settings")
        for name, value in sorted(training.metrics.items()):
            tf.summary.scalar(_EVALUATION + name, value)
        if (training.model_dir / "saved_model.pb").is_file():
            tf.summary.graph(read_graph(training.model_dir))
            shown.append("graph")
    return ", ".join([*shown, _project(folder, training)])


def _num_steps(training: Training) -> int:
    report = json.loads((training.model_run_dir / REPORT_FILE).read_text(encoding="utf-8"))
    return int(report["num_steps"])


def _project(folder: Path, training: Training) -> str:
    if training.examples_dir is None or not training.model_dir.is_dir():
        return "no projector (its eval texts or its model are gone)"
    try:
        num_texts = write_projector(
            folder,
            examples_dir=training.examples_dir,
            model_run_dir=training.model_run_dir,
            model_dir=training.model_dir,
        )
    except OSError:  # training.json names the encoder's folder in a cache that anybody may empty
        return "no projector (the encoder that it was built on is not in the cache any more)"
    return f"projector of {num_texts:,} eval texts" if num_texts else "no projector (no eval split)"


def _write_columns(folder: Path, trainings: Sequence[Training]) -> None:
    """The columns of the HPARAMS page: settings in which the trainings differ, and the figures to compare."""
    values: dict[str, set[Setting]] = {}
    for training in trainings:
        for key, value in training.settings.items():
            values.setdefault(key, set()).add(value if isinstance(value, bool | str) else float(value))
    # The page shows the first five alone; where nothing differs, there is nothing to choose by.
    differing = {key: found for key, found in values.items() if len(found) > 1} or values
    hparams = [hp.HParam(key, hp.Discrete(found)) for key, found in sorted(differing.items())]
    names = sorted({name for training in trainings for name in training.metrics})
    metrics = [hp.Metric(_EVALUATION + name, display_name=name) for name in names]
    metrics += [hp.Metric(tag, group=group, display_name=f"{group} {tag}") for group, tag in _COMPARED]
    with tf.summary.create_file_writer(str(folder)).as_default():
        hp.hparams_config(hparams=hparams, metrics=metrics)
