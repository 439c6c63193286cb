"""Encoder and head as one Keras model."""

from __future__ import annotations

import bert_model
import bert_task
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from bert_pipeline.encoders import resolve

TRAINING = bert_task.TrainingConfig()


def _inputs(rows: list[list[int]], *, length: int) -> dict[str, tf.Tensor]:
    """Encoder inputs of the rows, padded to a length."""
    word_ids = np.zeros([len(rows), length], np.int32)
    for i, row in enumerate(rows):
        word_ids[i, : len(row)] = row
    ids = tf.constant(word_ids)
    return {
        "input_word_ids": ids,
        "input_mask": tf.cast(ids > 0, tf.int32),
        "input_type_ids": tf.zeros_like(ids),
    }


def _build(encoder: resolve.Encoder, *, pooling: str = "pooled_output", **training: object) -> tf_keras.Model:
    config = bert_task.TrainingConfig(**training)  # type: ignore[arg-type]  # the tests' few keys
    return bert_model.build_model(encoder.path, num_labels=3, pooling=pooling, training=config)


@pytest.mark.parametrize("pooling", ["pooled_output", "mean"])
def test_logits_of_a_text_do_not_depend_on_padding(tiny_encoder: resolve.Encoder, pooling: str) -> None:
    model = _build(tiny_encoder, pooling=pooling)
    alone = model(_inputs([[3, 20, 30, 4]], length=4))
    padded = model(_inputs([[3, 20, 30, 4], [3, *range(10, 40), 4]], length=40))
    assert alone.shape == (1, 3)
    assert alone.dtype == tf.float32
    np.testing.assert_allclose(alone[0], padded[0], atol=1e-5)


def test_dropout_only_in_training(tiny_encoder: resolve.Encoder) -> None:
    model = _build(tiny_encoder, dropout=0.5)
    inputs = _inputs([[3, 20, 30, 4]], length=4)
    np.testing.assert_array_equal(model(inputs, training=False), model(inputs, training=False))
    assert np.abs(model(inputs, training=True) - model(inputs, training=True)).max() > 1e-3


def test_frozen_encoder_leaves_the_head_to_train(tiny_encoder: resolve.Encoder) -> None:
    model = _build(tiny_encoder, freeze_encoder=True)
    assert [v.name for v in model.trainable_variables] == ["head/kernel:0", "head/bias:0"]
    assert len(_build(tiny_encoder).trainable_variables) == len(model.variables) > 30


def test_frozen_encoder_has_no_dropout(tiny_encoder: resolve.Encoder) -> None:
    model = _build(tiny_encoder, freeze_encoder=True, dropout=0.0)
    inputs = _inputs([[3, 20, 30, 4]], length=4)
    np.testing.assert_array_equal(model(inputs, training=True), model(inputs, training=False))


def test_seed_gives_the_same_head(tiny_encoder: resolve.Encoder) -> None:
    heads = [_build(tiny_encoder, seed=seed).get_layer("head").get_weights()[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(heads[0], heads[1])
    assert np.abs(heads[0] - heads[2]).max() > 0.01


def test_mean_is_over_real_tokens() -> None:
    sequence = tf.constant([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]], [[5.0, 6.0], [7.0, 7.0], [7.0, 7.0]]])
    mean = bert_model.MeanOverTokens()((sequence, tf.constant([[1, 1, 0], [1, 0, 0]])))
    np.testing.assert_allclose(mean, [[2.0, 3.0], [5.0, 6.0]])


def test_an_unknown_pooling_is_refused(tiny_encoder: resolve.Encoder) -> None:
    with pytest.raises(
        ValueError, match=r"encoder\.pooling is 'max'; use one of \['mean', 'pooled_output'\]"
    ):
        _build(tiny_encoder, pooling="max")


def test_an_encoder_without_the_output_is_refused(tmp_path: str) -> None:
    root = tf.train.Checkpoint()
    spec = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in bert_task.ENCODER_INPUTS}
    root.__call__ = tf.function(
        lambda inputs: {"sequence_output": tf.cast(inputs["input_mask"], tf.float32)[..., None]},
        input_signature=[spec],
    )
    tf.saved_model.save(root, f"{tmp_path}/encoder")
    with pytest.raises(
        ValueError, match=r"'pooled_output' needs .* encoder\.handle gives \['sequence_output'\]"
    ):
        bert_model.build_model(
            f"{tmp_path}/encoder", num_labels=2, pooling="pooled_output", training=TRAINING
        )
