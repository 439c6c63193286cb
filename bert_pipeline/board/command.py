"""The verb `tensorboard`: the trainings of a task side by side, in the browser."""

from __future__ import annotations

import argparse
import threading

from bert_pipeline.board.folder import collect
from bert_pipeline.board.server import launch
from bert_pipeline.board.trainings import trainings
from bert_pipeline.history.task_store import task_store
from bert_pipeline.metadata.run_history import read_history


def main(arguments: argparse.Namespace) -> int:
    """Collects the trainings, starts TensorBoard and waits for the end; returns 0.

    Args:
        arguments: `port` (0: any that is free), `last`, and those of `task_store`.

    Raises:
        UserError: there is no training to show, or the port is taken.
    """
    store, paths = task_store(arguments)
    found = trainings(read_history(store, task=paths.task_name), last=arguments.last)
    print(f"task {paths.task_name}: {len(found)} training{'s' * (len(found) != 1)}", flush=True)
    collect(paths.tensorboard, found, say=lambda line: print(line, flush=True))
    print(f"TensorBoard at {launch(paths.tensorboard, port=arguments.port)} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return 0
