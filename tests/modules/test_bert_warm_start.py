"""A warm start begins exactly where the base model ended, and says what it could not take over."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import bert_job
import bert_model
import bert_task
import bert_trainer
import bert_warm_start
import numpy as np
import pytest
import tensorflow as tf

# `toy` and `trained` come from conftest.py, and so do their types.


def _fresh(trained: Any, *, num_labels: int = 3, seed: int = 99) -> Any:
    training = dataclasses.replace(trained.training, seed=seed)
    return bert_model.build_model(
        trained.encoder.path, num_labels=num_labels, pooling="pooled_output", training=training
    )


def test_weights_and_answers_are_those_of_the_base_model(trained: Any) -> None:
    model = _fresh(trained)
    base = trained.fn_args.serving_model_dir
    done = bert_warm_start.restore(model, base_model=base, labels=trained.data.labels)
    served = tf.saved_model.load(base)
    for mine, theirs in zip(model.weights, served.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.name)
    assert (done.head, done.num_weights) == ("kept", len(served.weights))
    row = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"i love the shoe"]))
    example = tf.train.Example(features=tf.train.Features(feature={"review": row})).SerializeToString()
    ids = served.signatures["transform_features"](examples=tf.constant([example]))
    logits = model({name: tf.cast(ids[name], tf.int32) for name in bert_task.ENCODER_INPUTS})
    answer = served.signatures["serving_default"](review=tf.constant(["i love the shoe"]))
    np.testing.assert_allclose(tf.nn.softmax(logits), answer["probabilities"], atol=1e-6)


def test_training_starts_at_the_loss_where_the_base_model_ended(
    toy: Any, trained: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A learning rate of nearly 0 leaves the weights as they were taken over."""
    settings = bert_task.TrainingConfig(
        epochs=1, batch_size=16, learning_rate=1e-30, warm_start="latest_blessed", held_out_share=0.4
    )
    fn_args = toy.fn_args(tmp_path, encoder_path=trained.encoder.path, training=settings, progress=True)
    fn_args.base_model = trained.fn_args.serving_model_dir
    bert_trainer.train(bert_job.make_job(fn_args), strategy=bert_trainer.make_strategy())
    report = json.loads((tmp_path / "model_run" / "training.json").read_text())
    before = json.loads((trained.model_run_dir / "training.json").read_text())
    ended = before["history"]["val_cross_entropy"][before["best_epoch"] - 1]
    assert report["history"]["val_cross_entropy"] == [pytest.approx(ended, rel=1e-4)]
    assert report["warm_start"].endswith("head kept")
    assert report["warm_start"] in capsys.readouterr().err
    assert before["warm_start"] == ""


@pytest.mark.parametrize(
    "labels", [("good", "bad", "so so"), ("bad", "good"), ("bad", "good", "so so", "new")]
)
def test_changed_labels_leave_the_head_fresh_and_are_named(trained: Any, labels: tuple[str, ...]) -> None:
    model = _fresh(trained, num_labels=len(labels))
    head = model.get_layer("head").kernel.numpy().copy()
    done = bert_warm_start.restore(model, base_model=trained.fn_args.serving_model_dir, labels=labels)
    assert done.head == f"fresh, because data.labels was ['bad', 'good', 'so so'] and is {list(labels)}"
    np.testing.assert_array_equal(model.get_layer("head").kernel, head)
    served = {v.name: v for v in tf.saved_model.load(trained.fn_args.serving_model_dir).weights}
    word_ids = next(v for v in model.weights if v.name == "embeddings/word_embeddings:0")
    np.testing.assert_array_equal(word_ids, served[word_ids.name])


def test_base_model_of_another_encoder_is_refused_by_name_and_shape(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _fresh(trained)
    base = tf.saved_model.load(trained.fn_args.serving_model_dir)
    wider = [tf.Variable(tf.zeros([64, 48]), name="embeddings/word_embeddings"), *base.weights[1:]]
    root = tf.train.Checkpoint(weights=wider)
    root.signatures = base.signatures
    monkeypatch.setattr(tf.saved_model, "load", lambda _: root)
    with pytest.raises(
        ValueError,
        match=r"the weight embeddings/word_embeddings:0 has the shape \[64, 32\], and the base model base has it with "
        r"the shape \[64, 48\]: it has another encoder; set training\.warm_start = \"none\"",
    ):
        bert_warm_start.restore(model, base_model="base", labels=trained.data.labels)
    root.weights = base.weights[1:]
    with pytest.raises(ValueError, match=r"the base model base lacks it"):
        bert_warm_start.restore(model, base_model="base", labels=trained.data.labels)
