"""The converted BERT in processes of its own: over two replicas, and beside torch with the real encoder."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_pipeline.encoders import hf_bert, hf_checkpoint, known_encoders, resolve
from bert_pipeline.encoders.bert_graph import PADDED, REAL_TOKENS

FORMS = (REAL_TOKENS, PADDED)

REPLICAS = """
import sys
import numpy as np, tensorflow as tf, tensorflow_hub as hub
from bert_task import ENCODER_INPUTS

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
source = np.load(sys.argv[1])

def gradients(path, devices):
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        layer = hub.KerasLayer(path, trainable=True)
    size = 4 // len(devices)

    def share(context):
        start = context.replica_id_in_sync_group * size
        return {name: tf.constant(source[name][start : start + size]) for name in ENCODER_INPUTS}

    def step(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(batch, training=False)["pooled_output"][:, :3])
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, layer.trainable_weights)]

    batches = strategy.experimental_distribute_values_from_function(share)
    sums = [strategy.reduce("SUM", g, axis=None) for g in strategy.run(step, args=(batches,))]
    assert len(sums) == len(layer.trainable_weights) == 19
    return [g.numpy() for g in sums]

for path in sys.argv[2:]:
    one, two = gradients(path, ["CPU:0"]), gradients(path, ["CPU:0", "CPU:1"])
    assert max(np.abs(g).max() for g in one) > 0.1
    print("difference", max(float(np.abs(a - b).max()) for a, b in zip(one, two)))
"""


def test_gradients_of_two_replicas_sum_to_those_of_one(tiny_checkpoint: Path, tmp_path: Path):
    checkpoint = hf_checkpoint.read_checkpoint(tiny_checkpoint)
    one_layer = dataclasses.replace(checkpoint.shape, num_hidden_layers=1)
    for form in FORMS:
        hf_bert.convert(dataclasses.replace(checkpoint, shape=one_layer), tmp_path / form, computation=form)
    paths = [str(tmp_path / form) for form in FORMS]
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tiny_checkpoint / "reference.npz"), *paths],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    differences = [
        float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("difference")
    ]
    assert len(differences) == 2
    assert max(differences) < 1e-5


TORCH = """
import sys
import numpy as np, torch
from transformers import BertModel

source = np.load(sys.argv[2])
model = BertModel.from_pretrained(sys.argv[1]).eval()
with torch.no_grad():
    out = model(*(torch.tensor(source[n]).long() for n in ("input_word_ids", "input_mask", "input_type_ids")))
np.savez(sys.argv[3], sequence=out.last_hidden_state.numpy(), pooled=out.pooler_output.numpy())
"""


def test_the_real_encoder_equals_torch(tmp_path: Path):
    python = os.environ.get("TORCH_PYTHON", "")
    if not python:
        pytest.skip(
            "NOT RUN: set TORCH_PYTHON to a Python with torch and transformers to compare the real encoder"
        )
    known = known_encoders.KNOWN_ENCODERS["all-MiniLM-L6-v2"]
    folder = known_encoders.fetch(known, cache_dir=resolve.default_cache_dir())
    random, columns = np.random.default_rng(0), np.arange(96)[None]
    lengths = random.integers(2, 97, (16, 1))
    mask = (columns < lengths).astype(np.int32)
    inputs = {
        "input_word_ids": (random.integers(1000, 30000, mask.shape) * mask).astype(np.int32),
        "input_mask": mask,
        "input_type_ids": ((columns >= lengths // 2) * mask).astype(np.int32),
    }
    np.savez(tmp_path / "in.npz", **inputs)
    command = [python, "-c", TORCH, str(folder), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(command, check=True, env=clean)
    expected = np.load(tmp_path / "out.npz")
    checkpoint = hf_checkpoint.read_checkpoint(folder)
    for form in FORMS:
        module = hf_bert.build_module(checkpoint, computation=form, vocab_path=folder / "vocab.txt")
        outputs = module.__call__({k: tf.constant(v) for k, v in inputs.items()}, training=False)
        sequence = np.abs(outputs["sequence_output"].numpy() - expected["sequence"])[mask > 0].max()
        pooled = np.abs(outputs["pooled_output"].numpy() - expected["pooled"]).max()
        print(json.dumps({"form": form, "sequence": float(sequence), "pooled": float(pooled)}))
        assert sequence < 1e-4
        assert pooled < 1e-4
