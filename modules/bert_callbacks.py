"""Training callbacks: speed, progress line, stop on NaN loss, best weights, TensorBoard curves."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
import tf_keras

# Names of the metrics in Keras's logs. Keras's `loss` is not used: it is a mean over batches, while
# these are means over examples.
LOSS = "cross_entropy"
ACCURACY = "accuracy"

# Keras's names of the metrics on the held-out part.
HELD_OUT_LOSS, HELD_OUT_ACCURACY = f"val_{LOSS}", f"val_{ACCURACY}"

# Steps between two points of a TensorBoard curve.
SUMMARY_STEPS = 10

# Criterion of KeepBestWeights without a held-out part.
LAST = "last"

# Seconds between progress lines without a terminal, and between updates of the line on a terminal.
LINE_SECONDS = 10.0
UPDATE_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Plan:
    """Size of a training."""

    num_epochs: int
    num_steps: int
    """Steps per epoch."""
    num_examples: int
    """Examples per epoch."""
    batch_size: int

    def examples_after(self, num_steps: int) -> int:
        """Examples seen after a number of steps of the whole training (exact at the end of each epoch)."""
        epochs, steps = divmod(num_steps, self.num_steps)
        return epochs * self.num_examples + min(steps * self.batch_size, self.num_examples)


class Clock(tf_keras.callbacks.Callback):
    """Measures the speed of the steps, without the first (which traces) and without evaluation.

    The other callbacks read it, so it comes first in their list.
    """

    def __init__(self, plan: Plan, *, now: Callable[[], float] = time.monotonic) -> None:
        """Sets the size of the training, and the clock (seconds)."""
        super().__init__()
        self.plan = plan
        self.num_steps_done = 0
        self._step_seconds = 0.0
        self._eval_seconds = 0.0
        self._now = now
        self._last = now()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step."""
        seconds = self._lap()
        self.num_steps_done += 1
        if self.num_steps_done > 1:
            self._step_seconds += seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Excludes the time since the last step, which was the evaluation."""
        self._eval_seconds = self._lap()

    def _lap(self) -> float:
        last, self._last = self._last, self._now()
        return self._last - last

    @property
    def examples_per_second(self) -> float:
        """Mean since the first step; 0 before it."""
        if self.num_steps_done < 2 or not self._step_seconds:
            return 0.0
        examples = self.plan.examples_after(self.num_steps_done) - self.plan.examples_after(1)
        return examples / self._step_seconds

    @property
    def seconds_left(self) -> float | None:
        """Time of the remaining steps and, once one was timed, evaluations; None if not known yet."""
        if not self.examples_per_second:
            return None
        all_steps = self.plan.num_epochs * self.plan.num_steps
        examples = self.plan.examples_after(all_steps) - self.plan.examples_after(self.num_steps_done)
        epochs_done = self.num_steps_done // self.plan.num_steps
        return examples / self.examples_per_second + (self.plan.num_epochs - epochs_done) * self._eval_seconds


class Progress(tf_keras.callbacks.Callback):
    """`epoch 1/3  step 40/120  loss 0.62  accuracy 0.71  29 examples/s  1m40s left`.

    On a terminal one line that updates, else a line every ten seconds; and a line per epoch.
    """

    def __init__(self, clock: Clock, *, stream: TextIO | None = None) -> None:
        """Sets the clock and the output (standard error)."""
        super().__init__()
        self._clock = clock
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._shown_at = -math.inf

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the running means of the epoch."""
        now = time.monotonic()
        if now - self._shown_at < (UPDATE_SECONDS if self._is_terminal else LINE_SECONDS):
            return
        self._shown_at = now
        plan = self._clock.plan
        parts = [f"step {batch + 1}/{plan.num_steps}", *_scores(logs or {})]
        if self._clock.examples_per_second:
            parts.append(f"{self._clock.examples_per_second:.0f} examples/s")
        if self._clock.seconds_left is not None:
            parts.append(f"{format_seconds(self._clock.seconds_left)} left")
        epoch = (self._clock.num_steps_done - 1) // plan.num_steps
        self._write(epoch, parts, end="" if self._is_terminal else "\n")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the epoch's means and those of the held-out part, if there is one."""
        logs = logs or {}
        held_out = _scores(logs, prefix="val_")
        parts = ["train:", *_scores(logs), *(["held out:", *held_out] if held_out else [])]
        self._write(epoch, parts, end="\n")

    def _write(self, epoch: int, parts: list[str], *, end: str) -> None:
        # Carriage return and "erase to the end of the line" (ECMA-48) replace the shown line.
        start = "\r\x1b[K" if self._is_terminal else ""
        self._stream.write(
            "  ".join([f"{start}epoch {epoch + 1}/{self._clock.plan.num_epochs}", *parts]) + end
        )
        self._stream.flush()


def _scores(logs: dict[str, Any], *, prefix: str = "") -> list[str]:
    if prefix + LOSS not in logs:
        return []
    return [f"loss {logs[prefix + LOSS]:.3g}", f"accuracy {logs[prefix + ACCURACY]:.3f}"]


def format_seconds(seconds: float) -> str:
    """Formats a duration, rounded.

    >>> format_seconds(9), format_seconds(100), format_seconds(7260)
    ('9s', '1m40s', '2h01m')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


class StopAtNonFiniteLoss(tf_keras.callbacks.Callback):
    """Stops at the first step with a NaN or infinite loss, before it is exported."""

    def __init__(self, clock: Clock, *, rate_of_step: Callable[[int], float]) -> None:
        """Sets the clock and the learning rate as a function of the step (0, 1, ... over all epochs)."""
        super().__init__()
        self._clock = clock
        self._rate_of_step = rate_of_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Reads the epoch's running mean, which stays NaN after the first NaN loss."""
        self._check((logs or {})[LOSS], where="loss")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the last step's weights by the held-out loss; without a held-out part, checks the weights directly."""
        if HELD_OUT_LOSS in (logs or {}):
            self._check((logs or {})[HELD_OUT_LOSS], where="held-out loss")
        elif not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            self._check(math.nan, where="weights")

    def _check(self, loss: float, *, where: str) -> None:
        if math.isfinite(loss):
            return
        last, num_steps = self._clock.num_steps_done - 1, self._clock.plan.num_steps
        raise FloatingPointError(
            f"the {where} became {loss} at step {last % num_steps + 1}/{num_steps} of epoch {last // num_steps + 1}, "
            f"learning rate {self._rate_of_step(last):.3g}: lower training.learning_rate, keep training.clip_norm "
            "above 0 (1.0 is usual), or set training.precision to float32"
        )


class KeepBestWeights(tf_keras.callbacks.Callback):
    """Restores the weights of the best epoch at the end of every training, stopped early or not.

    (Keras's EarlyStopping restores them only if it stopped the training itself.)
    """

    def __init__(self, path: str, *, patience: int, by: str) -> None:
        """Sets the weights' file (.h5), `early_stopping_patience`, and `best_epoch_by` of TrainingConfig or LAST."""
        super().__init__()
        self.best_epoch = 0
        self._best = (math.inf, math.inf)
        self._path = path
        self._patience = patience
        self._by = by

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the weights of a better epoch; stops after `patience` epochs without improvement."""
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
        """Restores the best epoch's weights; without a criterion, saves the last epoch's."""
        if self._by == LAST:
            self.model.save_weights(self._path)
        else:
            self.model.load_weights(self._path)


class TensorBoardLogs(tf_keras.callbacks.Callback):
    """Curves for `tensorboard --logdir`: loss, accuracy, learning rate, examples/s; nothing costly.

    (Keras's own callback has the learning rate once an epoch and counts the tracing as a slow step, and its curves of
    train and of the held-out part have different names, so that TensorBoard draws them apart.)
    """

    def __init__(self, log_dir: str, *, clock: Clock, rate_of_step: Callable[[int], float]) -> None:
        """Takes the folder (for train/ and, where there is such a part, held_out/), a clock and the learning rate."""
        super().__init__()
        self._log_dir = log_dir
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._clock = clock
        self._rate_of_step = rate_of_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a point now and then."""
        step = self._clock.num_steps_done
        if step % SUMMARY_STEPS and batch + 1 != self._clock.plan.num_steps:
            return
        logs = logs or {}
        self._write(
            "train",
            loss=logs[LOSS],
            accuracy=logs[ACCURACY],
            learning_rate=self._rate_of_step(step - 1),
            examples_per_second=self._clock.examples_per_second,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the held-out part's point, if there is one, at the step reached."""
        logs = logs or {}
        if HELD_OUT_LOSS in logs:
            self._write("held_out", loss=logs[HELD_OUT_LOSS], accuracy=logs[HELD_OUT_ACCURACY])
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, part: str, **points: float) -> None:
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(f"{self._log_dir}/{part}")
        with self._writers[part].as_default(step=self._clock.num_steps_done):
            for name, value in points.items():
                tf.summary.scalar(name, value)
