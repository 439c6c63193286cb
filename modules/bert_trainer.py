"""Trainer's entry: fine-tunes a BERT on Transform's output and exports it.

Writes to `model_run_dir`, beside the TensorBoard logs: `best_weights.h5` (`bert_model.build_model` restores
the trained Keras model from it) and `training.json` (settings, speed, history).
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from typing import Any

import bert_batches
import bert_callbacks
import bert_export_form
import bert_held_out
import bert_optimizer
import bert_signatures
import bert_warm_start
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from absl import logging
from bert_job import REPORTED, Job, Report, make_job
from tfx.components.trainer.fn_args_utils import FnArgs


def run_fn(fn_args: FnArgs) -> None:
    """Called by TFX's Trainer; see https://www.tensorflow.org/tfx/guide/trainer.

    Args:
        fn_args: `custom_config` has the sections `data`, `encoder`, `training` and `export` (as
            `bert_task.to_json` wrote them), `encoder_path` and `progress` (bool).

    Raises:
        ValueError: a setting does not fit this machine or the data; the message names the key.
    """
    strategy = make_strategy()  # before all else: hosts find each other when TensorFlow starts
    job = make_job(fn_args)
    bert_export_form.check_form(job.export)
    if not is_chief():  # the same weights are written by the chief
        with tempfile.TemporaryDirectory() as folder:
            train(dataclasses.replace(job, model_run_dir=folder, show_progress=False), strategy=strategy)
        return
    train(job, strategy=strategy)
    # Build a new model outside the strategy: plain variables, and no training state in the export.
    model = job.build_model()
    model.load_weights(job.weights_path)
    bert_signatures.export(
        model,
        transform_output=tft.TFTransformOutput(fn_args.transform_graph_path),
        data=job.data,
        form=job.export.form,
        export_dir=fn_args.serving_model_dir,
    )


def make_strategy() -> tf.distribute.Strategy:
    """A replica on each GPU that TensorFlow sees, else one on the CPU; of each host that TF_CONFIG names.

    See https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable.
    """
    cluster, _ = _tf_config()
    if sum(len(cluster.get(role, ())) for role in ("chief", "worker")) > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    return tf.distribute.MirroredStrategy(gpus or ["/cpu:0"])


def is_chief() -> bool:
    """Whether this process writes the model: only one of several hosts does."""
    cluster, task = _tf_config()
    return task.get("type") in (None, "chief") or ("chief" not in cluster and task.get("index", 0) == 0)


def _tf_config() -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Addresses by role, and the role and index of this process; empty on one host."""
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    return config.get("cluster", {}), config.get("task", {})


def train(job: Job, *, strategy: tf.distribute.Strategy) -> tf_keras.Model:
    """Trains, and writes the best weights and the report.

    Args:
        job: what to train.
        strategy: the devices. Any number of them gives the same weights up to rounding (and
            dropout, which is drawn on each).

    Returns:
        The model with the weights of the best epoch (`TrainingConfig.best_epoch_by`).

    Raises:
        ValueError: a setting or the data do not fit; the message names the key.
        FloatingPointError: the loss became NaN or infinite.
    """
    tf_keras.utils.set_random_seed(job.training.seed)
    tf.io.gfile.makedirs(job.model_run_dir)
    rows = bert_held_out.divide(job.train_split, share=job.training.held_out_share, labels=job.data.labels)
    logging.info("training on %s, held out %s", rows.train_size, rows.held_out_size)
    plan = _plan(job, rows.train_size)
    schedule = bert_optimizer.WarmupLinearDecay(
        job.training.learning_rate,
        num_steps=plan.num_epochs * plan.num_steps,
        warmup_fraction=job.training.warmup_fraction,
    )
    clock = bert_callbacks.Clock(plan)
    best = bert_callbacks.KeepBestWeights(
        job.weights_path,
        patience=job.training.early_stopping_patience,
        by=job.training.best_epoch_by if rows.held_out else bert_callbacks.LAST,
    )
    with bert_optimizer.arithmetic(job.training.precision):
        with strategy.scope():
            model = _compiled_model(job, schedule=schedule)
        warm_start = _warm_start(job, model)  # loading a SavedModel within the scope gives mirrored graphs
        start = time.monotonic()
        history = model.fit(
            _train_batches(job, rows=rows, strategy=strategy),
            epochs=plan.num_epochs,
            steps_per_epoch=plan.num_steps,
            validation_data=_held_out_batches(job, rows=rows, strategy=strategy),
            validation_steps=rows.held_out_size.num_steps(job.training.batch_size) or None,
            callbacks=_callbacks(job, clock=clock, schedule=schedule, best=best),
            verbose=0,
        ).history
        seconds = time.monotonic() - start
    _report(
        job,
        rows=rows,
        clock=clock,
        best=best,
        history=history,
        seconds=seconds,
        strategy=strategy,
        warm_start=warm_start,
    ).write(job.model_run_dir)
    return model


def _plan(job: Job, size: bert_batches.SplitSize) -> bert_callbacks.Plan:
    return bert_callbacks.Plan(
        num_epochs=job.training.epochs,
        num_steps=size.num_steps(job.training.batch_size),
        num_examples=size.num_examples,
        batch_size=job.training.batch_size,
    )


def _report(
    job: Job,
    *,
    rows: bert_held_out.Division,
    clock: bert_callbacks.Clock,
    best: bert_callbacks.KeepBestWeights,
    history: dict[str, list[float]],
    seconds: float,
    strategy: tf.distribute.Strategy,
    warm_start: str,
) -> Report:
    return Report(
        training=dataclasses.asdict(job.training),
        encoder=dataclasses.asdict(job.encoder),
        export=dataclasses.asdict(job.export),
        encoder_path=job.encoder_path,
        num_labels=len(job.data.labels),
        num_replicas=strategy.num_replicas_in_sync,
        num_train_examples=rows.train_size.num_examples,
        num_held_out_examples=rows.held_out_size.num_examples,
        num_steps=clock.num_steps_done,
        seconds=round(seconds, 3),
        examples_per_second=round(clock.examples_per_second, 1),
        best_epoch=best.best_epoch + 1,
        chosen_on=rows.sentence(best_epoch=best.best_epoch + 1, num_epochs=len(history["accuracy"])),
        warm_start=warm_start,
        history={name: [float(v) for v in history[name]] for name in REPORTED if name in history},
    )


def _warm_start(job: Job, model: tf_keras.Model) -> str:
    """Loads the base model's weights, if there is one, and describes the result."""
    if not job.base_model:
        return ""
    done = str(bert_warm_start.restore(model, base_model=job.base_model, labels=job.data.labels))
    logging.info(done)
    if job.show_progress:
        print(done, file=sys.stderr, flush=True)
    return done


def _compiled_model(job: Job, *, schedule: bert_optimizer.WarmupLinearDecay) -> tf_keras.Model:
    """Compiles with a summed loss: the batches' weights make the sum a mean (`make_batches`)."""
    model = job.build_model()
    cross_entropy = tf_keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=tf_keras.losses.Reduction.SUM
    )
    model.compile(
        optimizer=bert_optimizer.make_optimizer(model, training=job.training, schedule=schedule),
        loss=cross_entropy,
        metrics=[
            tf_keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name=bert_callbacks.LOSS),
            tf_keras.metrics.SparseCategoricalAccuracy(name=bert_callbacks.ACCURACY),
        ],
    )
    return model


def _callbacks(
    job: Job,
    *,
    clock: bert_callbacks.Clock,
    schedule: bert_optimizer.WarmupLinearDecay,
    best: bert_callbacks.KeepBestWeights,
) -> list[tf_keras.callbacks.Callback]:
    def rate_of_step(step: int) -> float:
        return float(schedule(step))

    callbacks = [
        clock,
        # Check before keeping weights: those of a broken epoch must not be kept.
        bert_callbacks.StopAtNonFiniteLoss(clock, rate_of_step=rate_of_step),
        best,
        bert_callbacks.TensorBoardLogs(job.model_run_dir, clock=clock, rate_of_step=rate_of_step),
    ]
    return [*callbacks, bert_callbacks.Progress(clock)] if job.show_progress else callbacks


def _train_batches(
    job: Job, *, rows: bert_held_out.Division, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    training, size = job.training, rows.train_size
    weights = bert_batches.balanced_class_weights(size) if training.class_weights == "balanced" else None
    batches = bert_batches.make_batches(
        rows.train,
        size=size,
        batch_size=training.batch_size,
        num_epochs=training.epochs,
        num_replicas=strategy.num_replicas_in_sync,
        shuffle_seed=training.seed,
        length_buckets=training.length_buckets,
        class_weights=weights,
    )
    return _distributed(batches, strategy=strategy)


def _held_out_batches(
    job: Job, *, rows: bert_held_out.Division, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset | None:
    if rows.held_out is None:
        return None
    batches = bert_batches.make_batches(
        rows.held_out,
        size=rows.held_out_size,
        batch_size=job.training.batch_size,
        num_replicas=strategy.num_replicas_in_sync,
        length_buckets=job.training.length_buckets,
    )
    return _distributed(batches, strategy=strategy)


def _distributed(
    batches: tf.data.Dataset, *, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    """Gives each host the elements of its replicas, out of those of all replicas in turn (`make_batches`)."""

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        hosts = context.num_input_pipelines
        each = strategy.num_replicas_in_sync // hosts
        if hosts == 1:
            return batches
        own = batches.enumerate().filter(lambda i, _: i // each % hosts == context.input_pipeline_id)
        return own.map(lambda _, batch: batch)

    return strategy.distribute_datasets_from_function(of_host)
