"""The toy of the contract suite: signatures each of which shows one thing, and its SavedModel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

NAMES = ("short", "long")
_METHODS = {
    "classify": "classify",
    "classify_scores": "classify",
    "classify_classes": "classify",
    "regress": "regress",
    "regress_column": "regress",
}
_TYPES = {
    "f32": tf.float32,
    "f64": tf.float64,
    "i8": tf.int8,
    "i16": tf.int16,
    "i32": tf.int32,
    "i64": tf.int64,
    "u8": tf.uint8,
    "u32": tf.uint32,
    "u64": tf.uint64,
    "b": tf.bool,
    "s": tf.string,
}


def _rows(dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name=name)


_EXAMPLES = [_rows(tf.string, "inputs")]


class Toy(tf.Module):
    """Small signatures, each of which shows one thing; `offset` tells versions and models apart."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[_rows(tf.string, "text")])
    def serving_default(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Is a text longer than five bytes?"""
        probabilities = tf.where(_is_long(text)[:, tf.newaxis], [[0.2, 0.8]], [[0.8, 0.2]])
        names = tf.constant(NAMES)
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
            "labels": tf.tile(names[tf.newaxis], [tf.size(text), 1]),
            "probabilities": probabilities,
        }

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x"), _rows(tf.int32, "n")])
    def arithmetic(self, x: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        """Two typed inputs; y is x / 2 + offset, n is n + 1."""
        return {"y": x / 2 + self.offset, "n": n + 1, "raw_bytes": tf.strings.as_string(n)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def busy(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes as long as it is told: some milliseconds a turn; rank 0 in and out."""
        return {"trace": _spend(turns)}

    @tf.function(input_signature=[_rows(tf.int32, "turns")])
    def busy_rows(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `busy`, by rows: as long as the largest one says."""
        return {"turns": turns + tf.cast(_spend(tf.reduce_max(turns)), tf.int32) * 0}

    @tf.function(input_signature=[_rows(tf.string, "text")])
    def to_number(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Fails on a text that is no number, with a message that holds the text."""
        return {"number": tf.strings.to_number(text) + self.offset}

    @tf.function(input_signature=[_rows(tf.float32, "x")])
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """One output without rows beside one with them."""
        return {"total": tf.reduce_sum(x), "twice": x * 2}

    @tf.function(input_signature=[_rows(tf.float32, "x")])
    def fixed(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """An output of three values whatever the number of rows."""
        return {"twice": x * 2, "three": tf.constant([1.0, 2.0, 3.0])}

    @tf.function(input_signature=[_rows(tf.float32, "x")])
    def positive(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Fewer rows out than in, which no declared shape tells."""
        return {"positive": tf.boolean_mask(x, x > 0)}

    @tf.function(input_signature=[_rows(dtype, name) for name, dtype in _TYPES.items()])
    def types(self, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives back what it gets, in each type that JSON can hold."""
        return {name: tf.identity(value) for name, value in zip(_TYPES, values, strict=True)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def any_shape(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives back floats of any shape."""
        return {"x": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.half, name="h")])
    def half(self, h: tf.Tensor) -> dict[str, tf.Tensor]:
        """A type that JSON cannot hold."""
        return {"h": tf.identity(h)}

    @tf.function(input_signature=[_rows(tf.string, "s")])
    def strings(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same strings as text and as bytes."""
        return {"s": tf.identity(s), "s_bytes": tf.identity(s)}

    @tf.function(input_signature=_EXAMPLES)
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Of tf.Examples with a float `x`: scores x and 1 - x of the two classes."""
        x = _parse(inputs)["x"]
        classes = tf.tile(tf.constant([NAMES]), [tf.size(inputs), 1])
        return {"classes": classes, "scores": tf.stack([x, 1 - x], axis=1)}

    @tf.function(input_signature=_EXAMPLES)
    def classify_scores(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `classify`, without names."""
        return {"scores": self.classify(inputs)["scores"]}

    @tf.function(input_signature=_EXAMPLES)
    def classify_classes(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The example's string `text`, as the only class."""
        return {"classes": _parse(inputs)["text"][:, tf.newaxis]}

    @tf.function(input_signature=_EXAMPLES)
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Of tf.Examples: x + n + offset."""
        features = _parse(inputs)
        return {"outputs": features["x"] + tf.cast(features["n"], tf.float32) + self.offset}

    @tf.function(input_signature=_EXAMPLES)
    def regress_column(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `regress`, of shape [batch, 1]."""
        return {"outputs": self.regress(inputs)["outputs"][:, tf.newaxis]}


SIGNATURES = tuple(name for name, value in vars(Toy).items() if hasattr(value, "get_concrete_function"))


def _is_long(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.length(text) > 5


def _spend(turns: tf.Tensor) -> tf.Tensor:
    matrix = tf.eye(400)
    for _ in tf.range(turns):
        matrix = tf.linalg.matmul(matrix, matrix)
    return tf.linalg.trace(matrix)


def _parse(examples: tf.Tensor) -> dict[str, tf.Tensor]:
    defaults = {"x": (tf.float32, 0.0), "n": (tf.int64, 0), "text": (tf.string, "")}
    features = {k: tf.io.FixedLenFeature([], dtype, value) for k, (dtype, value) in defaults.items()}
    return tf.io.parse_example(examples, features)


def save_toy(folder: Path, *, offset: float = 1.0, signatures: Sequence[str] = SIGNATURES) -> Path:
    """Writes the SavedModel under a name that no server sees, then renames it."""
    toy = Toy(offset)
    partial = folder.parent / f".{folder.name}"
    concrete = {name: getattr(toy, name).get_concrete_function() for name in signatures}
    tf.saved_model.save(toy, str(partial), signatures=concrete)
    _set_methods(partial / "saved_model.pb")
    partial.rename(folder)
    return folder


def _set_methods(path: Path) -> None:
    """TF2 exports every signature as one of Predict; Classify and Regress are TF1's."""
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for name, signature in saved_model.meta_graphs[0].signature_def.items():
        if name in _METHODS:
            signature.method_name = f"tensorflow/serving/{_METHODS[name]}"
    path.write_bytes(saved_model.SerializeToString())
