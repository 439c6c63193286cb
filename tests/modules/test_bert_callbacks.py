"""The progress line, the stop at a loss that is no number, the best weights, the curves."""

from __future__ import annotations

import io
import math
import pathlib
from typing import Any

import bert_callbacks
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

PLAN = bert_callbacks.Plan(num_epochs=3, num_steps=4, num_examples=100, batch_size=32)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Time:
    """A clock's hand that tests move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _train(clock: bert_callbacks.Clock, time: Time, *, steps: int, seconds: float) -> None:
    for _ in range(steps):
        time.seconds += seconds
        clock.on_train_batch_end(0)


def test_speed_leaves_out_the_first_step_and_the_evaluations() -> None:
    time = Time()
    clock = bert_callbacks.Clock(PLAN, now=time)
    _train(clock, time, steps=1, seconds=60)  # tracing
    assert clock.examples_per_second == 0
    assert clock.seconds_left is None
    _train(clock, time, steps=3, seconds=2)  # 32 + 32 + 4 examples
    assert clock.examples_per_second == pytest.approx(68 / 6)
    time.seconds += 5
    clock.on_epoch_end(0)
    assert clock.examples_per_second == pytest.approx(68 / 6)
    # Two epochs of 100 examples and two evaluations are left.
    assert clock.seconds_left == pytest.approx(200 * 6 / 68 + 2 * 5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (100, "1m40s"), (3600, "1h00m"), (7260, "2h01m")],
)
def test_time_left_is_rounded_for_reading(seconds: float, text: str) -> None:
    assert bert_callbacks.format_seconds(seconds) == text


def _progress(stream: io.StringIO, *, steps: int) -> str:
    time = Time()
    clock = bert_callbacks.Clock(PLAN, now=time)
    progress = bert_callbacks.Progress(clock, stream=stream)
    for step in range(steps):
        _train(clock, time, steps=1, seconds=2)
        progress.on_train_batch_end(step, {"cross_entropy": 0.625, "accuracy": 0.71})
    return stream.getvalue()


def test_progress_is_one_updating_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_callbacks, "UPDATE_SECONDS", 0.0)
    assert _progress(Terminal(), steps=2) == (
        "\r\x1b[Kepoch 1/3  step 1/4  loss 0.625  accuracy 0.710"
        "\r\x1b[Kepoch 1/3  step 2/4  loss 0.625  accuracy 0.710  16 examples/s  15s left"
    )


def test_progress_is_a_line_now_and_then_elsewhere() -> None:
    assert _progress(io.StringIO(), steps=4) == "epoch 1/3  step 1/4  loss 0.625  accuracy 0.710\n"


def test_each_epoch_ends_with_a_line_of_both_splits() -> None:
    stream = Terminal()
    progress = bert_callbacks.Progress(bert_callbacks.Clock(PLAN), stream=stream)
    progress.on_epoch_end(0, {"cross_entropy": 1.0, "accuracy": 0.5})
    assert stream.getvalue() == "\r\x1b[Kepoch 1/3  train:  loss 1  accuracy 0.500\n"
    stream.seek(0)
    stream.truncate()
    progress.on_epoch_end(
        1,
        {
            "loss": 9.0,
            "cross_entropy": 0.5,
            "accuracy": 0.75,
            "val_cross_entropy": 0.625,
            "val_accuracy": 0.5,
        },
    )
    assert stream.getvalue() == (
        "\r\x1b[Kepoch 2/3  train:  loss 0.5  accuracy 0.750  held out:  loss 0.625  accuracy 0.500\n"
    )


def _stop(*, num_steps_done: int) -> bert_callbacks.StopAtNonFiniteLoss:
    clock = bert_callbacks.Clock(PLAN)
    clock.num_steps_done = num_steps_done
    return bert_callbacks.StopAtNonFiniteLoss(clock, rate_of_step=lambda step: step / 1000)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_says_where(loss: float) -> None:
    stop = _stop(num_steps_done=7)
    stop.on_train_batch_end(2, {"cross_entropy": 0.7})
    with pytest.raises(FloatingPointError) as error:
        stop.on_train_batch_end(2, {"cross_entropy": loss})
    assert str(error.value) == (
        f"the loss became {loss} at step 3/4 of epoch 2, learning rate 0.006: lower training.learning_rate, "
        "keep training.clip_norm above 0 (1.0 is usual), or set training.precision to float32"
    )


def test_a_held_out_loss_that_is_no_number_stops_too() -> None:
    stop = _stop(num_steps_done=4)
    stop.on_epoch_end(0, {"cross_entropy": 0.5, "val_cross_entropy": 0.5})
    with pytest.raises(FloatingPointError, match=r"^the held-out loss became nan at step 4/4 of epoch 1"):
        stop.on_epoch_end(0, {"cross_entropy": 0.5, "val_cross_entropy": math.nan})


def test_without_a_held_out_part_the_last_weights_are_looked_at_themselves() -> None:
    stop = _stop(num_steps_done=4)
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False, input_shape=[1])])
    stop.set_model(model)
    stop.on_epoch_end(0, {"cross_entropy": 0.5})
    model.set_weights([np.array([[math.nan]])])
    with pytest.raises(FloatingPointError, match=r"^the weights became nan at step 4/4 of epoch 1"):
        stop.on_epoch_end(0, {"cross_entropy": 0.5})


def _run_epochs(
    best: bert_callbacks.KeepBestWeights, *, eval_losses: list[float], accuracies: list[float] | None = None
) -> tuple[int, float]:
    """Trains a model whose only weight is the epoch's number; gives epochs made and the weight left."""
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False, input_shape=[1])])
    best.set_model(model)
    model.stop_training = False
    epoch = 0
    for epoch, loss in enumerate(eval_losses):
        model.set_weights([np.array([[float(epoch)]])])
        accuracy = accuracies[epoch] if accuracies else 0.5
        best.on_epoch_end(epoch, {"val_cross_entropy": loss, "val_accuracy": accuracy})
        if model.stop_training:
            break
    best.on_train_end()
    return epoch + 1, float(model.get_weights()[0][0, 0])


@pytest.mark.parametrize(
    ("patience", "num_epochs"), [(0, 6), (1, 3), (2, 6), (3, 6)]
)  # fmt: skip
def test_best_weights_are_kept_stopped_early_or_not(
    tmp_path: pathlib.Path, patience: int, num_epochs: int
) -> None:
    best = bert_callbacks.KeepBestWeights(str(tmp_path / "weights.h5"), patience=patience, by="loss")
    epochs, weight = _run_epochs(best, eval_losses=[0.9, 0.5, 0.6, 0.4, 0.4, 0.7])
    assert epochs == num_epochs
    assert weight == (1.0 if patience == 1 else 3.0)
    assert best.best_epoch == weight


@pytest.mark.parametrize(("by", "best_epoch"), [("loss", 0), ("accuracy", 3)])
def test_best_epoch_is_by_loss_or_by_accuracy_and_then_loss(
    tmp_path: pathlib.Path, by: str, best_epoch: int
) -> None:
    best = bert_callbacks.KeepBestWeights(str(tmp_path / "weights.h5"), patience=0, by=by)
    _run_epochs(best, eval_losses=[0.4, 0.6, 0.7, 0.5], accuracies=[0.7, 0.8, 0.8, 0.8])
    assert best.best_epoch == best_epoch


def test_where_nothing_chooses_the_last_weights_are_kept_and_nothing_stops(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "weights.h5"
    best = bert_callbacks.KeepBestWeights(str(path), patience=1, by=bert_callbacks.LAST)
    assert _run_epochs(best, eval_losses=[0.4, 0.6, 0.7, 0.5]) == (4, 3.0)
    assert best.best_epoch == 3
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False, input_shape=[1])])
    model.load_weights(path)
    assert float(model.get_weights()[0][0, 0]) == 3.0


def test_without_a_held_out_part_there_is_no_curve_of_one(tmp_path: pathlib.Path) -> None:
    board = bert_callbacks.TensorBoardLogs(
        str(tmp_path), clock=bert_callbacks.Clock(PLAN), rate_of_step=lambda step: step / 8
    )
    board.on_epoch_end(0, {"cross_entropy": 0.5, "accuracy": 0.75})
    board.on_train_end()
    assert not (tmp_path / "held_out").exists()


def _points(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    points: dict[str, list[tuple[int, float]]] = {}
    for path in folder.iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return points


def test_curves_of_both_splits_are_written(tmp_path: pathlib.Path) -> None:
    clock = bert_callbacks.Clock(PLAN)
    board = bert_callbacks.TensorBoardLogs(str(tmp_path), clock=clock, rate_of_step=lambda step: step / 8)
    logs: dict[str, Any] = {
        "cross_entropy": 0.5,
        "accuracy": 0.75,
        "val_cross_entropy": 0.25,
        "val_accuracy": 1.0,
    }
    for batch in range(4):
        clock.on_train_batch_end(0)
        board.on_train_batch_end(batch, logs)
    board.on_epoch_end(0, logs)
    board.on_train_end()
    train = _points(tmp_path / "train")
    assert sorted(train) == ["accuracy", "examples_per_second", "learning_rate", "loss"]
    assert train["loss"] == [(4, 0.5)]
    assert train["learning_rate"] == [(4, 0.375)]
    assert _points(tmp_path / "held_out") == {"loss": [(4, 0.25)], "accuracy": [(4, 1.0)]}
