"""Warm start: initializes a model with the weights of an earlier export instead of the encoder's."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras
from bert_signatures import SERVING_DEFAULT, float32_weights_dir

# Name of the layer on top of the encoder, in `bert_model.build_model`.
HEAD = "head/"


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """The result of a warm start."""

    base_model: str
    """Folder of the SavedModel."""
    num_weights: int
    """Number of loaded tensors."""
    head: str
    """`kept`, or the reason for a new head."""

    def __str__(self) -> str:
        """One line for the terminal and the log."""
        return f"warm start: {self.num_weights} weights of {self.base_model}, head {self.head}"


def restore(model: tf_keras.Model, *, base_model: str, labels: tuple[str, ...]) -> WarmStart:
    """Loads the weights of an exported model into a new one, by name and shape.

    Loads the head if the labels are the same, in the same order; otherwise the head keeps its new weights.
    The optimizer state is new, because it is not exported.

    Args:
        model: of `bert_model.build_model`.
        base_model: folder of a SavedModel that `bert_signatures.export` wrote.
        labels: of the task, in order.

    Raises:
        ValueError: the base model lacks a weight of the encoder, or has it in another shape.
    """
    loaded = tf.saved_model.load(base_model)
    weights_dir = float32_weights_dir(base_model)
    given = collections.defaultdict(list)
    for variable in (tf.saved_model.load(weights_dir) if tf.io.gfile.exists(weights_dir) else loaded).weights:
        given[variable.name].append(variable)
    head = _head(labels_of(loaded), labels)
    wanted = [v for v in model.weights if head == "kept" or not v.name.startswith(HEAD)]
    for variable in wanted:  # names may repeat in a third-party encoder; their order is the same then
        found = given[variable.name].pop(0) if given[variable.name] else None
        if found is None or found.shape != variable.shape:
            has = f"has it with the shape {list(found.shape)}" if found is not None else "lacks it"
            raise ValueError(
                f"training.warm_start: the weight {variable.name} has the shape {list(variable.shape)}, and the base "
                f'model {base_model} {has}: it has another encoder; set training.warm_start = "none" for this run'
            )
        variable.assign(found)
    return WarmStart(base_model, len(wanted), head)


def labels_of(loaded: Any) -> tuple[str, ...]:
    """The labels of a loaded export, in order, from its output: only its graph has them."""
    signature = loaded.signatures[SERVING_DEFAULT]
    _, columns = signature.structured_input_signature
    answer = signature(**{name: tf.constant([""]) for name in columns})
    return tuple(label.decode() for label in answer["labels"][0].numpy())


def _head(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    if before == now:
        return "kept"
    return f"fresh, because data.labels was {list(before)} and is {list(now)}"
