"""The verb `tensorboard`: curves, settings and metrics of a task's trainings side by side, in the browser."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard import program
from tensorboard.plugins.hparams import api as hp

from bert_pipeline.history import compare, lineage
from bert_pipeline.history.names import pushed_versions
from bert_pipeline.history.task_store import task_store
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import Execution, History, Run, read_history
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.requests import PastRequest


@dataclasses.dataclass(frozen=True)
class Training:
    """One executed (not cached) training."""

    name: str
    """Name in TensorBoard: `run-2_2026-11-21_spans-1-2_version-1795260076`."""
    folder: Path
    """The Trainer's ModelRun, with its curves and its record."""
    num_steps: int
    settings: Mapping[str, bool | int | float | str]
    """`training.epochs`, `encoder.handle`, `text.max_seq_length`, ..., and `spans`."""
    metrics: Mapping[str, float]
    """Metrics on all data at its last evaluation; empty if not evaluated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PastRequest):
    """Arguments of `tensorboard`."""

    port: int
    """0 for any free port."""

    last: int
    """Number of trainings."""


def run(request: Request) -> int:
    """Starts TensorBoard on the last trainings and waits for Ctrl-C; returns 0.

    Raises:
        UserError: there is no training to show, or the port is in use.
    """
    store, paths = task_store(request)
    found = trainings(read_history(store, task=paths.task_name), last=request.last)
    print(f"task {paths.task_name}: {len(found)} training{'s' * (len(found) != 1)}")
    print("".join(f"  {training.name}\n" for training in found), end="", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        collect(Path(folder), found)
        print(f"TensorBoard at {launch(Path(folder), port=request.port)} (Ctrl-C ends it)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
    return 0


def trainings(history: History, *, last: int) -> list[Training]:
    """The last trainings whose files exist, oldest first.

    Raises:
        UserError: there is none.
    """
    executions = [(run, history.executions[i]) for run in history.runs for i in run.executions]
    done = [(run, e) for run, e in executions if e.node == "Trainer" and e.state == "COMPLETE"]
    found = [training for run, e in done if (training := _training(history, run, e))]
    if not found:
        raise UserError(
            f"no training of {history.task} has files (none has ended, or gc removed them); "
            f"{typed.command('pipeline', task=history.task)} first"
        )
    return found[-last:]


def _training(history: History, run: Run, execution: Execution) -> Training | None:
    """None if its files were removed."""
    ids, spans = execution.outputs.get("model_run", ()), compare.spans(history, run)
    folder = Path(history.artifacts[ids[0]].uri) if ids else None
    record = run_record.read_record(folder) if folder else {}
    if folder is None or not record:
        return None
    model = execution.outputs["model"][0]
    settings = {f"{part}.{key}": v for part in ("encoder", "training") for key, v in record[part].items()}
    recorded = run_record.settings_of(run.properties)
    settings |= {key: value for key, value in recorded.items() if key.startswith("text.")}
    settings["spans"] = ", ".join(spans) or "none"
    metrics = lineage.metrics_of(history, lineage.last_evaluator(history, model)).get("all data", {})
    span = f"span{'s' * (len(spans) > 1)}-{'-'.join(spans)}" if spans else ""
    versions = [version for version, pushed in pushed_versions(history).items() if pushed == model]
    outcome = str(run.properties.get(run_record.OUTCOME) or "").replace(" ", "-")
    became = f"version-{versions[-1]}" if versions else outcome
    parts = (f"run-{run.number}", run.name[:10], span, became)
    return Training(
        name="_".join(part for part in parts if part),
        folder=folder,
        num_steps=int(record["num_steps"]),
        settings={k: v for k, v in sorted(settings.items()) if isinstance(v, bool | int | float | str)},
        metrics={k: v for k, v in metrics.items() if v is not None and math.isfinite(v)},
    )


def collect(folder: Path, found: Sequence[Training]) -> None:
    """Writes a TensorBoard folder for each training: links to its curves, its settings, and its metrics.

    Args:
        folder: an empty one.
        found: the trainings.
    """
    for training in found:
        with tf.summary.create_file_writer(str(folder / training.name)).as_default(step=training.num_steps):
            # Each training is a separate trial, even with equal settings.
            hp.hparams(dict(training.settings), trial_id=training.name)
            for name, value in sorted(training.metrics.items()):
                tf.summary.scalar(f"evaluation/{name}", value)
        for curves in filter(Path.is_dir, training.folder.iterdir()):
            (folder / training.name / curves.name).symlink_to(curves.absolute(), target_is_directory=True)


def launch(folder: Path, *, port: int) -> str:
    """Starts TensorBoard on a thread that ends with the process; returns its address.

    Args:
        folder: its logdir.
        port: of 127.0.0.1; 0 for any free port.

    Raises:
        UserError: the port is in use.
    """
    board = program.TensorBoard()
    # The fast loader is a separate process that would survive a kill.
    board.configure(logdir=str(folder), host="127.0.0.1", port=port, load_fast="false")
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise UserError(
            f"{typed.name('port')} is {port}: {error.msg}; name another one, or 0 for any that is free"
        ) from error
