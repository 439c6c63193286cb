"""A model that takes long texts for positive, saved as the Trainer saves one, whole or broken."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

LABELS = ("negative", "positive")


class Toy(tf.Module):
    """Long texts are positive; three signatures, as the exported model has them."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = tf.Variable(-5.0)

    def classify(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        logit = tf.cast(tf.strings.length(texts), tf.float32) + self.bias
        positive = tf.sigmoid(logit)
        probabilities = tf.stack([1 - positive, positive], axis=1)
        names = tf.constant(LABELS)
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
            "labels": tf.tile(names[tf.newaxis], [tf.size(texts), 1]),
            "probabilities": probabilities,
        }

    def parse(self, examples: tf.Tensor) -> tf.Tensor:
        spec = {"text": tf.io.FixedLenFeature([], tf.string, default_value="")}
        return tf.io.parse_example(examples, spec)["text"]


def save_toy(folder: Path, *, breakage: str = "") -> Path:
    """Writes the toy as a Trainer would; returns the model artifact's folder."""
    toy = Toy()
    text = tf.TensorSpec([None], tf.string, name="text")
    examples = tf.TensorSpec([None], tf.string, name="examples")

    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        if breakage == "raises":
            examples = tf.strings.join([tf.constant("not a tf.Example"), examples])
        return toy.classify(toy.parse(examples))

    def serve_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return toy.classify(text)

    signatures = {
        "serving_default": tf.function(serve_text, input_signature=[text]),
        "serve_examples": tf.function(serve_examples, input_signature=[examples]),
    }
    toy.calls = list(signatures.values())
    if breakage == "missing_signature":
        del signatures["serve_examples"]
    concrete = {name: function.get_concrete_function() for name, function in signatures.items()}
    tf.saved_model.save(toy, str(folder / "Format-Serving"), signatures=concrete)
    return folder
