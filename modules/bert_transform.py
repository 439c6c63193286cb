"""TFX Transform's `preprocessing_fn`: raw columns to encoder inputs and label ids.

Training and the exported model both use the graph traced here.
"""

from __future__ import annotations

from typing import Any

import bert_text
import tensorflow as tf
from bert_task import LABEL_ID, DataConfig, TextConfig, from_json


def preprocessing_fn(
    inputs: dict[str, tf.Tensor | tf.SparseTensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Tokenizes the text columns and numbers the label.

    There is no analysis of the data: the vocabulary is the encoder's and the labels are the task's, so
    a text has the same ids with any training data. The label and the texts are independent; a graph
    without a label (at serving) still gives the encoder's inputs.

    Args:
        inputs: raw features by column name: string [batch, 1], or sparse string [batch, <=1] where the
            schema has no fixed shape. A missing text is read as an empty one.
        custom_config: `data` and `text` (sections, `bert_task.to_json`), `vocab_path` (str),
            `lower_case` (bool). The file is read while tracing; the graph contains the vocabulary.

    Returns:
        ENCODER_INPUTS: ragged int64 [batch, (length)], see `bert_text.encode`.
        label_id: int64 [batch]; position of the label in `data.labels`, -1 if unknown or missing.
    """
    data = from_json(DataConfig, custom_config["data"])
    text = from_json(TextConfig, custom_config["text"])
    vocab = bert_text.load_vocabulary(custom_config["vocab_path"], lower_case=custom_config["lower_case"])
    outputs: dict[str, tf.Tensor | tf.RaggedTensor] = dict(
        bert_text.encode(
            [_column(inputs[name]) for name in data.text], vocab=vocab, max_seq_length=text.max_seq_length
        )
    )
    outputs[LABEL_ID] = _label_ids(_column(inputs[data.label]), labels=data.labels)
    return outputs


def _column(feature: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    """One string per example, [batch]; "" if missing."""
    if isinstance(feature, tf.SparseTensor):
        # A batch in which no example has the column arrives with width 0.
        one_wide = tf.SparseTensor(feature.indices, feature.values, [feature.dense_shape[0], 1])
        feature = tf.sparse.to_dense(one_wide, default_value="")
    return tf.squeeze(feature, axis=1)


def _label_ids(label: tf.Tensor, *, labels: tuple[str, ...]) -> tf.Tensor:
    """Position of each label in `labels`, int64 [batch]; -1 if not in it.

    Compares with every label instead of a lookup table: a table must be initialised wherever the graph
    is loaded, and there are tens of labels, not thousands.
    """
    matches = tf.expand_dims(label, 1) == tf.constant(labels)
    return tf.where(tf.reduce_any(matches, axis=1), tf.argmax(matches, axis=1), -1)
