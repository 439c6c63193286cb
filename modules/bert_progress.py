"""The progress line of a training, and the clock behind it."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import tf_keras

# Names of the metrics in Keras's logs. Keras's own `loss` is not read: it is a mean over batches, and
# ours are means over examples.
LOSS = "cross_entropy"
ACCURACY = "accuracy"

# Where the output is no terminal: seconds between two lines.
LINE_SECONDS = 10.0
# On a terminal: seconds between two updates of the one line.
UPDATE_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much there is to train."""

    num_epochs: int
    num_steps: int
    """Steps an epoch."""
    num_examples: int
    """Examples an epoch."""
    batch_size: int

    def examples_after(self, num_steps: int) -> int:
        """Examples seen after so many steps of the whole training (exact at the end of each epoch)."""
        epochs, steps = divmod(num_steps, self.num_steps)
        return epochs * self.num_examples + min(steps * self.batch_size, self.num_examples)


class Clock:
    """Measures the speed of the steps alone: without the first (which traces) and without evaluation."""

    def __init__(self, plan: Plan, *, now: Callable[[], float] = time.monotonic) -> None:
        """Takes what is to be trained, and where the time (seconds) comes from."""
        self.plan = plan
        self.num_steps_done = 0
        self.step_seconds = 0.0
        self.eval_seconds = 0.0
        self._now = now
        self._last = now()

    def step(self) -> None:
        """A step has ended."""
        seconds = self._lap()
        self.num_steps_done += 1
        if self.num_steps_done > 1:
            self.step_seconds += seconds

    def evaluation(self) -> None:
        """An evaluation has ended."""
        self.eval_seconds = self._lap()

    def _lap(self) -> float:
        last, self._last = self._last, self._now()
        return self._last - last

    @property
    def examples_per_second(self) -> float:
        """Mean since the first step; 0 until there is one."""
        if self.num_steps_done < 2 or not self.step_seconds:
            return 0.0
        examples = self.plan.examples_after(self.num_steps_done) - self.plan.examples_after(1)
        return examples / self.step_seconds

    @property
    def seconds_left(self) -> float | None:
        """Steps left and, once one was timed, evaluations left; None: not known yet."""
        if not self.examples_per_second:
            return None
        all_steps = self.plan.num_epochs * self.plan.num_steps
        examples = self.plan.examples_after(all_steps) - self.plan.examples_after(self.num_steps_done)
        epochs_done = self.num_steps_done // self.plan.num_steps
        return examples / self.examples_per_second + (self.plan.num_epochs - epochs_done) * self.eval_seconds


class TimeSteps(tf_keras.callbacks.Callback):
    """Drives the clock; must come first in the list of callbacks."""

    def __init__(self, clock: Clock) -> None:
        """Takes the clock that the others read."""
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step."""
        self.clock.step()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """What passed since the last step was the evaluation."""
        self.clock.evaluation()


class Progress(tf_keras.callbacks.Callback):
    """`epoch 1/3  step 40/120  loss 0.62  accuracy 0.71  29 examples/s  1m40s left`.

    On a terminal one line that updates, else a line every ten seconds; and a line each epoch.
    """

    def __init__(self, clock: Clock, *, stream: TextIO | None = None) -> None:
        """Takes a clock and where to write (standard error)."""
        super().__init__()
        self._clock = clock
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._shown_at = -math.inf
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch (0, 1, ...)."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the running means of the epoch."""
        now = time.monotonic()
        if now - self._shown_at < (UPDATE_SECONDS if self._is_terminal else LINE_SECONDS):
            return
        self._shown_at = now
        parts = [self._position(), f"step {batch + 1}/{self._clock.plan.num_steps}", *_scores(logs or {})]
        if self._clock.examples_per_second:
            parts.append(f"{self._clock.examples_per_second:.0f} examples/s")
        if self._clock.seconds_left is not None:
            parts.append(f"{format_seconds(self._clock.seconds_left)} left")
        self._write(parts, end="" if self._is_terminal else "\n")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the epoch's means and those of the held-out part, if there is one."""
        logs = logs or {}
        evaluated = {key.removeprefix("val_"): value for key, value in logs.items() if key.startswith("val_")}
        parts = [self._position(), "train:", *_scores(logs)]
        parts += ["held out:", *_scores(evaluated)] if evaluated else []
        self._write(parts, end="\n")

    def _position(self) -> str:
        return f"epoch {self._epoch + 1}/{self._clock.plan.num_epochs}"

    def _write(self, parts: list[str], *, end: str) -> None:
        # Carriage return and "erase to the end of the line" (ECMA-48) replace the shown line.
        start = "\r\x1b[K" if self._is_terminal else ""
        self._stream.write(start + "  ".join(parts) + end)
        self._stream.flush()


def _scores(logs: dict[str, Any]) -> list[str]:
    return [f"loss {logs[LOSS]:.3g}", f"accuracy {logs[ACCURACY]:.3f}"] if LOSS in logs else []


def format_seconds(seconds: float) -> str:
    """Rounds for reading.

    >>> format_seconds(9), format_seconds(100), format_seconds(7260)
    ('9s', '1m40s', '2h01m')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02}m"
