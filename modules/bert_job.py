"""The inputs and the report of a training: settings, data and output files."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import bert_batches
import bert_model
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from bert_task import DataConfig, EncoderConfig, ExportConfig, TrainingConfig, from_json
from tfx.components.trainer.fn_args_utils import FnArgs

WEIGHTS_FILE = "best_weights.h5"
REPORT_FILE = "training.json"

# Keras's names of the metrics in the history, one value per epoch.
REPORTED = ("cross_entropy", "accuracy", "val_cross_entropy", "val_accuracy")


@dataclasses.dataclass(frozen=True)
class Job:
    """Model, data and output files of a training."""

    data: DataConfig
    encoder: EncoderConfig
    training: TrainingConfig
    encoder_path: str
    """Folder of the encoder's SavedModel."""
    train_split: bert_batches.Split
    model_run_dir: str
    show_progress: bool = True
    export: ExportConfig = dataclasses.field(default_factory=ExportConfig)
    base_model: str = ""
    """Folder of the export whose weights training starts from; empty for the encoder's."""

    @property
    def weights_path(self) -> str:
        """File of the best weights."""
        return os.path.join(self.model_run_dir, WEIGHTS_FILE)

    def build_model(self) -> tf_keras.Model:
        """The classifier, untrained."""
        return bert_model.build_model(
            self.encoder_path,
            num_labels=len(self.data.labels),
            pooling=self.encoder.pooling,
            training=self.training,
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """The report of a training; written as training.json."""

    training: dict[str, Any]
    """Section [training] of the task."""
    encoder: dict[str, Any]
    """Section [encoder] of the task."""
    export: dict[str, Any]
    """Section [export] of the task."""
    encoder_path: str
    num_labels: int
    num_replicas: int
    num_train_examples: int
    """Number of training examples."""
    num_held_out_examples: int
    """Number of held-out examples that selected the epoch; 0 if it is the last."""
    num_steps: int
    """Steps over all epochs."""
    seconds: float
    """Wall time of training and evaluation, tracing included."""
    examples_per_second: float
    """Mean over the training steps without the first."""
    best_epoch: int
    """1, 2, ...: the epoch whose weights were kept."""
    chosen_on: str
    """That epoch, and its selection: `epoch 3 of 4, chosen on 71 texts of train that it did not train on`."""
    warm_start: str
    """Description of a warm start; empty for the encoder's weights."""
    history: dict[str, list[float]]
    """Means per epoch: cross_entropy and accuracy; with the prefix val_ for the held-out part, if any."""

    def write(self, model_run_dir: str) -> None:
        """Writes it as JSON."""
        with tf.io.gfile.GFile(os.path.join(model_run_dir, REPORT_FILE), "w") as file:
            file.write(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def make_job(fn_args: FnArgs) -> Job:
    """Reads the arguments of TFX's `run_fn`."""
    config = fn_args.custom_config
    schema = tft.TFTransformOutput(fn_args.transform_graph_path).transformed_metadata.schema
    return Job(
        data=from_json(DataConfig, config["data"]),
        encoder=from_json(EncoderConfig, config["encoder"]),
        training=from_json(TrainingConfig, config["training"]),
        export=from_json(ExportConfig, config.get("export", "{}")),
        encoder_path=config["encoder_path"],
        train_split=bert_batches.Split("train", tuple(fn_args.train_files), fn_args.data_accessor, schema),
        model_run_dir=fn_args.model_run_dir,
        show_progress=config.get("progress", True),
        base_model=fn_args.base_model or "",
    )
