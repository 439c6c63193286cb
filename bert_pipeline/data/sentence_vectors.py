"""Texts -> sentence vectors: the run's own transform graph, then the pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence

import bert_task
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)
import tensorflow_transform as tft

_BATCH_SIZE = 32


def sentence_vectors(
    records: Sequence[bytes], *, columns: Sequence[str], transform_graph_dir: str, encoder_path: str
) -> np.ndarray:
    """Mean of the encoder's token vectors over each text (Reimers and Gurevych 2019).

    The pretrained encoder, not the trained model: that one keeps of a text what tells its label and forgets the
    rest, and what a text is about is the rest.

    Args:
        records: serialized raw tf.Examples, at least one.
        columns: `data.text`.
        transform_graph_dir: uri of Transform's transform_graph.
        encoder_path: folder of a SavedModel with TF Hub's interface for text encoders.

    Returns:
        float32 [number of records, hidden].
    """
    transform = tft.TFTransformOutput(transform_graph_dir)
    layer, spec = transform.transform_features_layer(), transform.raw_feature_spec()
    text_spec = {column: spec[column] for column in columns}
    encoder = hub.KerasLayer(encoder_path, trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def token_ids(examples: tf.Tensor) -> dict[str, tf.RaggedTensor]:
        features = layer(tf.io.parse_example(examples, text_spec))
        return {name: features[name] for name in bert_task.ENCODER_INPUTS}

    @tf.function(
        input_signature=[{n: tf.TensorSpec([None, None], tf.int32) for n in bert_task.ENCODER_INPUTS}]
    )
    def vectors(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        outputs = encoder(inputs, training=False)
        if "sequence_output" not in outputs:
            return outputs["pooled_output"]
        weights = tf.cast(inputs[bert_task.INPUT_MASK], tf.float32)[:, :, tf.newaxis]
        return tf.reduce_sum(outputs["sequence_output"] * weights, axis=1) / tf.reduce_sum(weights, axis=1)

    ids = token_ids(tf.constant(list(records)))
    lengths = ids[bert_task.INPUT_MASK].row_lengths().numpy()
    order = np.argsort(lengths, kind="stable")  # batches of like length hold little padding
    result: list[np.ndarray] = []
    for start in range(0, len(order), _BATCH_SIZE):
        rows = order[start : start + _BATCH_SIZE]
        batch = {name: tf.cast(tf.gather(ids[name], rows).to_tensor(), tf.int32) for name in ids}
        result.append(vectors(batch).numpy())
    return np.concatenate(result)[np.argsort(order)]
