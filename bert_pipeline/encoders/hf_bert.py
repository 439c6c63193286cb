"""Converts a Hugging Face BERT checkpoint into a SavedModel like TF Hub's text encoders.

The interface: https://www.tensorflow.org/hub/common_saved_model_apis/text (transformer encoders) and
https://www.tensorflow.org/hub/reusable_saved_models.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import bert_task
import numpy as np
import tensorflow as tf

from bert_pipeline.encoders.bert_graph import BertGraph
from bert_pipeline.encoders.hf_checkpoint import HfCheckpoint
from bert_pipeline.encoders.hf_tokenizer import RULES_FILE
from bert_pipeline.encoders.hf_vocabulary import VOCAB_FILE


def convert(checkpoint: HfCheckpoint, path: Path, *, computation: str) -> None:
    """Writes a checkpoint as a Hub-format SavedModel.

    Args:
        checkpoint: of `read_checkpoint`.
        path: folder to write.
        computation: `EncoderConfig.computation`.
    """
    # Use the CPU: an accelerator does not help, and its memory is needed elsewhere.
    with tf.device("CPU"), tempfile.TemporaryDirectory() as assets:
        checkpoint.tokenizer.write(Path(assets))
        module = build_module(checkpoint, computation=computation, vocab_path=Path(assets) / VOCAB_FILE)
        tf.saved_model.save(module, str(path))


def build_module(checkpoint: HfCheckpoint, *, computation: str, vocab_path: Path) -> tf.train.Checkpoint:
    """The object whose SavedModel `hub.KerasLayer(path, trainable=True)` takes.

    `tf.train.Checkpoint` and not `tf.Module`, whose `variables` is a property and is not saved.

    Args:
        checkpoint: of `read_checkpoint`.
        computation: `EncoderConfig.computation`.
        vocab_path: written by its tokenizer; becomes an asset, like a RULES_FILE beside it.

    Returns:
        `__call__(inputs, training=False)` as `BertGraph.encode`, traced once for each value of
        `training`; `variables`, `trainable_variables`, `regularization_losses`; `vocab_file` (an asset)
        and `do_lower_case` for the tokenizer.
    """
    variables = {name: tf.Variable(value, name=name) for name, value in graph_weights(checkpoint).items()}
    graph = BertGraph(checkpoint.shape, variables, computation=computation)

    def encode(inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        return graph.encode(inputs, training=training)

    call = tf.function(encode)
    spec = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in bert_task.ENCODER_INPUTS}
    for training in (False, True):
        call.get_concrete_function(spec, training=training)
    module = tf.train.Checkpoint(
        variables=list(variables.values()),
        trainable_variables=list(variables.values()),
        regularization_losses=[],
        vocab_file=tf.saved_model.Asset(str(vocab_path)),
        do_lower_case=tf.Variable(checkpoint.tokenizer.lower_case, trainable=False, name="do_lower_case"),
    )
    if (rules_path := vocab_path.with_name(RULES_FILE)).is_file():
        module.rules_file = tf.saved_model.Asset(str(rules_path))
    module.__call__ = call
    return module


def graph_weights(checkpoint: HfCheckpoint) -> dict[str, np.ndarray]:
    """Hugging Face's tensors under the graph's names; kernels become [in, out].

    Query, key and value become one kernel [hidden, 3 * hidden]: one product instead of three.
    """
    source = checkpoint.weights
    weights = {
        f"embeddings/{table}_embeddings": source[f"embeddings.{table}_embeddings.weight"]
        for table in ("word", "position", "token_type")
    }
    weights |= _layer_norm(source, "embeddings.LayerNorm", "embeddings/LayerNorm")
    for layer in range(checkpoint.shape.num_hidden_layers):
        old, new = f"encoder.layer.{layer}", f"layer_{layer}"
        parts = [f"{old}.attention.self.{part}" for part in ("query", "key", "value")]
        weights[f"{new}/attention/qkv/kernel"] = np.concatenate(
            [source[f"{p}.weight"].T for p in parts], axis=1
        )
        weights[f"{new}/attention/qkv/bias"] = np.concatenate([source[f"{p}.bias"] for p in parts])
        weights |= _dense(source, f"{old}.attention.output.dense", f"{new}/attention/output")
        weights |= _layer_norm(source, f"{old}.attention.output.LayerNorm", f"{new}/attention/LayerNorm")
        weights |= _dense(source, f"{old}.intermediate.dense", f"{new}/intermediate")
        weights |= _dense(source, f"{old}.output.dense", f"{new}/output")
        weights |= _layer_norm(source, f"{old}.output.LayerNorm", f"{new}/LayerNorm")
    if checkpoint.has_pooler:
        weights |= _dense(source, "pooler.dense", "pooler")
    return weights


def _dense(source: dict[str, np.ndarray], old: str, new: str) -> dict[str, np.ndarray]:
    return {f"{new}/kernel": source[f"{old}.weight"].T, f"{new}/bias": source[f"{old}.bias"]}


def _layer_norm(source: dict[str, np.ndarray], old: str, new: str) -> dict[str, np.ndarray]:
    return {f"{new}/gamma": source[f"{old}.weight"], f"{new}/beta": source[f"{old}.bias"]}
