"""Training end to end on a real Transform output, with a tiny BERT."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import bert_job
import bert_model
import bert_task
import bert_trainer
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from bert_pipeline.encoders import resolve
from tests.serving.processes import free_ports

# `toy` and `trained` come from conftest.py, and so do their types.


def _train(toy: Any, folder: pathlib.Path, encoder: resolve.Encoder, **training: Any) -> dict[str, Any]:
    """Trains without export; gives the report."""
    config = bert_task.TrainingConfig(**{"epochs": 2, "batch_size": 41, "learning_rate": 1e-3} | training)
    fn_args = toy.fn_args(folder, encoder_path=encoder.path, training=config)
    bert_trainer.train(bert_job.make_job(fn_args), strategy=bert_trainer.make_strategy())
    return json.loads((folder / "model_run" / "training.json").read_text())


def test_a_task_that_can_be_told_apart_is_learnt(trained: Any) -> None:
    report = json.loads((trained.model_run_dir / "training.json").read_text())
    history = report["history"]
    assert history["val_accuracy"][report["best_epoch"] - 1] == 1.0
    assert history["val_cross_entropy"][-1] < 0.1 < 0.9 < history["cross_entropy"][0]
    assert report["best_epoch"] == 1 + int(np.argmin(history["val_cross_entropy"]))
    assert (report["num_train_examples"], report["num_held_out_examples"], report["num_steps"]) == (
        48,
        35,
        30 * 6,
    )
    assert report["chosen_on"] == (
        f"epoch {report['best_epoch']} of 30, chosen on 35 texts of train that it did not train on"
    )
    assert report["training"]["learning_rate"] == 5e-3
    assert report["examples_per_second"] > 0


def test_exported_model_is_the_trained_one(trained: Any) -> None:
    texts = ["i love the shoe", "it was very, very not the sole", "hate", "a", "love " * 40]
    served = tf.saved_model.load(trained.fn_args.serving_model_dir).signatures
    examples = []
    for text in texts:
        row = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
        examples.append(
            tf.train.Example(features=tf.train.Features(feature={"review": row})).SerializeToString()
        )
    ids = served["transform_features"](examples=tf.constant(examples))
    model = bert_model.build_model(
        trained.encoder.path, num_labels=3, pooling="pooled_output", training=trained.training
    )
    model.load_weights(trained.model_run_dir / "best_weights.h5")
    logits = model({name: tf.cast(ids[name], tf.int32) for name in bert_task.ENCODER_INPUTS})
    answers = served["serving_default"](review=tf.constant(texts))
    np.testing.assert_allclose(answers["probabilities"], tf.nn.softmax(logits), atol=1e-5)
    assert [label.decode() for label in answers["label"].numpy()[:3]] == ["good", "so so", "bad"]


def test_progress_is_shown_and_curves_are_written(trained: Any) -> None:
    lines = trained.stderr.splitlines()
    assert re.fullmatch(r"epoch 1/30  step 1/6  loss \S+  accuracy \S+", lines[0])
    assert re.fullmatch(
        r"epoch 30/30  train:  loss \S+  accuracy 1.000  held out:  loss \S+  accuracy 1.000", lines[-1]
    )
    assert list((trained.model_run_dir / "train").glob("events*"))
    assert list((trained.model_run_dir / "held_out").glob("events*"))


def test_same_seed_gives_the_same_losses(
    toy: Any, tiny_encoder: resolve.Encoder, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = (
        _train(toy, tmp_path / name, tiny_encoder, class_weights="balanced")["history"] for name in "ab"
    )
    assert one == two
    assert "val_accuracy" not in one  # of 83 rows a tenth is too little
    assert "epoch" not in capfd.readouterr().err  # progress=False


def test_a_loss_that_is_no_number_stops_the_run(
    toy: Any, tiny_encoder: resolve.Encoder, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(
        FloatingPointError, match=r"became nan at step \d/6 of epoch 1, .*training\.learning_rate"
    ):
        _train(toy, tmp_path, tiny_encoder, batch_size=16, learning_rate=1e30, freeze_encoder=True)
    assert not (tmp_path / "model_run" / "best_weights.h5").exists()


def test_early_stopping_keeps_the_best_epoch(
    toy: Any, tiny_encoder: resolve.Encoder, tmp_path: pathlib.Path
) -> None:
    report = _train(
        toy,
        tmp_path,
        tiny_encoder,
        epochs=9,
        learning_rate=0.5,
        freeze_encoder=True,
        early_stopping_patience=1,
        held_out_share=0.4,
    )
    losses = report["history"]["val_cross_entropy"]
    assert len(losses) < 9
    assert report["best_epoch"] == len(losses) - 1 == 1 + int(np.argmin(losses))


def test_float16_without_a_gpu_is_refused(
    toy: Any, tiny_encoder: resolve.Encoder, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=r"training\.precision = 'float16' needs a GPU"):
        _train(toy, tmp_path, tiny_encoder, precision="float16")


# Two replicas need two devices, which are set before TensorFlow starts: a process of its own.
REPLICAS = """
import json, os, sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import bert_batches, bert_job, bert_task, bert_trainer
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

class Accessor:
    def tf_dataset_factory(self, files, options, schema):
        return tfxio.TFExampleRecord(files, schema=schema, telemetry_descriptors=[]).TensorFlowDataset(options)

given = json.loads(sys.argv[1])
makes = {
    "1": lambda: tf.distribute.MirroredStrategy(["/cpu:0"]),
    "2": lambda: tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]),
    "host": bert_trainer.make_strategy,
}
strategies = {name: makes[name]() for name in given["strategies"]}  # hosts must find each other first
schema = tft.TFTransformOutput(given["transform"]).transformed_metadata.schema
split = bert_batches.Split("train", (given["train"],), Accessor(), schema)
training = bert_task.TrainingConfig(
    epochs=2, batch_size=47, learning_rate=1e-3, dropout=0.0, class_weights="balanced", held_out_share=0.4
)
for name, strategy in strategies.items():
    folder = f"{given['folder']}/{name}{os.environ.get('HOST', '')}"
    job = bert_job.Job(
        data=bert_task.DataConfig(path="", text=("review",), label="label", labels=("bad", "good", "so so"), files={}),
        encoder=bert_task.EncoderConfig(), training=training, encoder_path=given["encoder"],
        train_split=split, model_run_dir=folder, show_progress=False)
    model = bert_trainer.train(job, strategy=strategy)
    np.savez(f"{folder}/weights.npz", **{v.name: v.numpy() for v in model.trainable_variables})
"""


@pytest.fixture
def given(toy: Any, tiny_checkpoint: pathlib.Path, tmp_path: pathlib.Path) -> dict[str, Any]:
    """For REPLICAS: batches of 47 of 48 examples, and a last one of 1, so that another replica has none."""
    shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    # No dropout, which each replica draws for itself; one layer, to be quick.
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": 1}
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config))
    weights = safetensors.numpy.load_file(tmp_path / "checkpoint" / "model.safetensors")
    first_layer = {name: weight for name, weight in weights.items() if ".layer.1." not in name}
    safetensors.numpy.save_file(first_layer, tmp_path / "checkpoint" / "model.safetensors")
    encoder = resolve.resolve_encoder(
        bert_task.EncoderConfig(handle=str(tmp_path / "checkpoint")), cache_dir=tmp_path, base_dir=tmp_path
    )
    return toy.splits | {"transform": toy.path, "encoder": encoder.path, "folder": str(tmp_path / "runs")}


def _start(given: dict[str, Any], *strategies: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REPLICAS, json.dumps(given | {"strategies": strategies})]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, env={**os.environ, **paths, **environment}, text=True, **output)


def _end(*processes: subprocess.Popen[str]) -> None:
    errors = [process.communicate(timeout=240)[1] for process in processes]  # of all, before one is judged
    for process, text in zip(processes, errors, strict=True):
        assert process.returncode == 0, text[-3000:]


def _same_weights(given: dict[str, Any], name: str, *, num_replicas: int) -> None:
    """Holds what a training left against what one replica left."""
    folders = [pathlib.Path(given["folder"]) / each for each in ("1", name)]
    reports = [json.loads((folder / "training.json").read_text()) for folder in folders]
    assert [report["num_replicas"] for report in reports] == [1, num_replicas]
    assert [report["num_steps"] for report in reports] == [4, 4]
    assert len(reports[0]["history"]["val_accuracy"]) == 2
    for metric, values in reports[0]["history"].items():
        np.testing.assert_allclose(reports[1]["history"][metric], values, rtol=1e-5)
    one, other = (np.load(folder / "weights.npz") for folder in folders)
    assert len(one.files) > 20
    for variable in one.files:
        np.testing.assert_allclose(other[variable], one[variable], atol=2e-6, err_msg=variable)


def test_two_replicas_train_as_one(given: dict[str, Any]) -> None:
    _end(_start(given, "1", "2"))
    _same_weights(given, "2", num_replicas=2)


def test_two_hosts_train_as_one(given: dict[str, Any]) -> None:
    """Two processes on loopback, as TF_CONFIG names them on two machines."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = [
        _start(
            given,
            "host",
            TF_CONFIG=json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}),
            HOST=str(index),
        )
        for index in range(2)
    ]
    _end(_start(given, "1"), *processes)
    for index in range(2):
        _same_weights(given, f"host{index}", num_replicas=2)


@pytest.mark.parametrize(
    ("cluster", "task", "is_chief"),
    [
        ({}, {}, True),
        ({"worker": ["a:1"]}, {"type": "worker", "index": 0}, True),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1}, False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "chief", "index": 0}, True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "worker", "index": 0}, False),
    ],
)
def test_one_host_writes_the_model(
    cluster: dict[str, Any], task: dict[str, Any], is_chief: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert bert_trainer.is_chief() == is_chief
