"""A BERT encoder in TF Hub's format plus a classification head, as one Keras model."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from bert_task import ENCODER_INPUTS, INPUT_MASK, TrainingConfig

# Standard deviation of new weights (Devlin et al. 2018: initializer_range in bert_config.json).
INITIALIZER_STDDEV = 0.02


def build_model(
    encoder_path: str, *, num_labels: int, pooling: str, training: TrainingConfig
) -> tf_keras.Model:
    """Builds the classifier; the encoder comes with its pretrained weights, the head with random ones.

    Args:
        encoder_path: folder of a SavedModel that follows TF Hub's interface for text encoders
            (https://www.tensorflow.org/hub/common_saved_model_apis/text).
        num_labels: number of classes.
        pooling: `pooled_output` or `mean`, see `EncoderConfig.pooling`.
        training: provides dropout, freeze_encoder and seed.

    Returns:
        Model of a dict of ENCODER_INPUTS, int32 [batch, length] and 0 where padded, to logits
        float32 [batch, num_labels].

    Raises:
        ValueError: the encoder lacks the output that `pooling` needs.
    """
    inputs = {name: tf_keras.Input([None], dtype=tf.int32, name=name) for name in ENCODER_INPUTS}
    encoder = hub.KerasLayer(encoder_path, trainable=not training.freeze_encoder, name="encoder")
    sentence = _pool(encoder(inputs), mask=inputs[INPUT_MASK], pooling=pooling)
    sentence = tf_keras.layers.Dropout(training.dropout, seed=training.seed, name="dropout")(sentence)
    initializer = tf_keras.initializers.TruncatedNormal(stddev=INITIALIZER_STDDEV, seed=training.seed)
    head = tf_keras.layers.Dense(num_labels, kernel_initializer=initializer, name="head")
    return tf_keras.Model(inputs, head(sentence), name="bert_classifier")


def _pool(outputs: dict[str, tf.Tensor], *, mask: tf.Tensor, pooling: str) -> tf.Tensor:
    """The encoder's outputs -> one vector per text: float32 [batch, hidden]."""
    needed = {"pooled_output": "pooled_output", "mean": "sequence_output"}
    if pooling not in needed:
        raise ValueError(f"encoder.pooling is {pooling!r}; use one of {sorted(needed)}")
    if needed[pooling] not in outputs:
        raise ValueError(
            f"encoder.pooling = {pooling!r} needs the encoder's output {needed[pooling]!r}; "
            f"encoder.handle gives {sorted(outputs)}"
        )
    if pooling == "pooled_output":
        return outputs["pooled_output"]
    return MeanOverTokens(name="mean")((outputs["sequence_output"], mask))


class MeanOverTokens(tf_keras.layers.Layer):
    """Mean of the token vectors where the mask is 1 (Reimers and Gurevych 2019, Sentence-BERT)."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """(float32 [batch, length, hidden], int32 [batch, length]) -> float32 [batch, hidden]."""
        sequence, mask = inputs
        weights = tf.cast(mask, sequence.dtype)[:, :, tf.newaxis]
        # A text always has [CLS] and [SEP]; the floor guards a row of only padding.
        return tf.reduce_sum(sequence * weights, axis=1) / tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)
