"""What watches a training: stop at a loss that is no number, best weights, TensorBoard curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from bert_progress import ACCURACY, LOSS, Clock, Plan

# Steps between two points of a TensorBoard curve.
SUMMARY_STEPS = 10

# What KeepBestWeights goes by where nothing is held out.
LAST = "last"

# Keras's names of what was measured on the held-out part.
HELD_OUT_LOSS, HELD_OUT_ACCURACY = f"val_{LOSS}", f"val_{ACCURACY}"


class StopAtNonFiniteLoss(tf_keras.callbacks.Callback):
    """Stops at the first step whose loss is NaN or infinite, rather than train on and export that."""

    def __init__(self, plan: Plan, *, rate_of_step: Callable[[int], float]) -> None:
        """Takes the plan and the learning rate as a function of the step (0, 1, ... over all epochs)."""
        super().__init__()
        self._plan = plan
        self._rate_of_step = rate_of_step
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch (0, 1, ...)."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Reads the epoch's running mean: it is no number from the first loss on that is none."""
        self._check((logs or {})[LOSS], where="loss", batch=batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The last step's weights show in no loss but the held-out one; without it they are looked at themselves."""
        last = self._plan.num_steps - 1
        if HELD_OUT_LOSS in (logs or {}):
            self._check((logs or {})[HELD_OUT_LOSS], where="held-out loss", batch=last)
        elif not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            self._check(math.nan, where="weights", batch=last)

    def _check(self, loss: float, *, where: str, batch: int) -> None:
        if math.isfinite(loss):
            return
        rate = self._rate_of_step(self._epoch * self._plan.num_steps + batch)
        raise FloatingPointError(
            f"the {where} became {loss} at step {batch + 1}/{self._plan.num_steps} of epoch {self._epoch + 1}, "
            f"learning rate {rate:.3g}: lower training.learning_rate, keep training.clip_norm above 0 "
            "(1.0 is usual), or set training.precision to float32"
        )


class KeepBestWeights(tf_keras.callbacks.Callback):
    """Ends every training with the weights of the best epoch, stopped early or not.

    (Keras's EarlyStopping restores them only if it stopped the training itself.)
    """

    def __init__(self, path: str, *, patience: int, by: str) -> None:
        """Takes the weights' file (.h5), `early_stopping_patience`, and `best_epoch_by` of TrainingConfig or LAST."""
        super().__init__()
        self.best_epoch = 0
        self._best = (math.inf, math.inf)
        self._path = path
        self._patience = patience
        self._by = by

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves a better epoch's weights; stops after `patience` epochs that were not better."""
        if self._by == LAST:
            self.best_epoch = epoch
            return
        logs = logs or {}
        loss = logs[HELD_OUT_LOSS]
        error = (1.0 - logs[HELD_OUT_ACCURACY], loss) if self._by == "accuracy" else (loss, 0.0)
        if error < self._best:
            self.best_epoch, self._best = epoch, error
            self.model.save_weights(self._path)
        elif self._patience and epoch - self.best_epoch >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the best epoch's weights; saves the last one's where nothing chose."""
        if self._by == LAST:
            self.model.save_weights(self._path)
        else:
            self.model.load_weights(self._path)


class TensorBoardLogs(tf_keras.callbacks.Callback):
    """Curves for `tensorboard --logdir`: loss, accuracy, learning rate, examples/s; nothing costly."""

    def __init__(self, log_dir: str, *, clock: Clock, rate_of_step: Callable[[int], float]) -> None:
        """Takes the folder (for train/ and, where there is such a part, held_out/), a clock and the learning rate."""
        super().__init__()
        self._train = tf.summary.create_file_writer(f"{log_dir}/train")
        self._log_dir = log_dir
        self._held_out: tf.summary.SummaryWriter | None = None
        self._clock = clock
        self._rate_of_step = rate_of_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a point now and then."""
        step = self._clock.num_steps_done
        if step % SUMMARY_STEPS and batch + 1 != self._clock.plan.num_steps:
            return
        logs = logs or {}
        points = {
            "loss": logs[LOSS],
            "accuracy": logs[ACCURACY],
            "learning_rate": self._rate_of_step(step - 1),
        }
        points["examples_per_second"] = self._clock.examples_per_second
        self._write(self._train, points)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the held-out part's point, if there is one, at the step reached."""
        logs = logs or {}
        if HELD_OUT_LOSS in logs:
            self._held_out = self._held_out or tf.summary.create_file_writer(f"{self._log_dir}/held_out")
            points = {"loss": logs[HELD_OUT_LOSS], "accuracy": logs[HELD_OUT_ACCURACY]}
            self._write(self._held_out, points)
            self._held_out.flush()
        self._train.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the files."""
        self._train.close()
        if self._held_out:
            self._held_out.close()

    def _write(self, writer: tf.summary.SummaryWriter, points: dict[str, float]) -> None:
        with writer.as_default(step=self._clock.num_steps_done):
            for name, value in points.items():
                tf.summary.scalar(name, value)
