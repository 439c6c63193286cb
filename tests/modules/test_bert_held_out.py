"""What is held out of train to choose the epoch: by the text alone, never what the gates read."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import bert_batches
import bert_held_out
import bert_job
import bert_task
import bert_trainer
import numpy as np
import pytest
import tensorflow as tf
from tfx_bsl.public.tfxio import TensorFlowDatasetOptions

from bert_pipeline.encoders import resolve

# `toy` comes from conftest.py, and so does its type.

LABELS = ("a", "b")


class Rows:
    """Stands in for TFX's DataAccessor: rows of (word ids, label id), in batches."""

    def __init__(self, rows: Sequence[tuple[Sequence[int], int]]) -> None:
        self._rows = rows

    def tf_dataset_factory(
        self, files: Any, options: TensorFlowDatasetOptions, schema: Any
    ) -> tf.data.Dataset:
        ids = tf.ragged.constant([list(ids) for ids, _ in self._rows], dtype=tf.int64)
        examples = dict.fromkeys(bert_task.ENCODER_INPUTS, ids)
        examples["label_id"] = tf.constant([label for _, label in self._rows], tf.int64)
        rows = tf.data.Dataset.from_tensor_slices(examples)
        if options.shuffle:
            rows = rows.shuffle(options.shuffle_buffer_size, seed=options.shuffle_seed)
        return rows.ragged_batch(options.batch_size)


def divide(rows: Sequence[tuple[Sequence[int], int]], share: float) -> bert_held_out.Division:
    split = bert_batches.Split("train", ("rows",), Rows(rows), None)
    return bert_held_out.divide(split, share=share, labels=LABELS)


def texts_of(split: bert_batches.Split | None) -> list[tuple[int, ...]]:
    """Word ids of a split's rows, in order."""
    assert split is not None
    options = TensorFlowDatasetOptions(batch_size=7, num_epochs=1, shuffle=False)
    return [tuple(ids) for batch in split.read(options) for ids in batch["input_word_ids"].to_list()]


def numbered(num_texts: int) -> list[tuple[list[int], int]]:
    return [([101, i, 102], i % 2) for i in range(num_texts)]


def test_a_share_is_held_out_and_the_rest_is_trained_on() -> None:
    rows = divide(numbered(4000), 0.1)
    assert rows.held_out_size.num_examples == pytest.approx(400, abs=60)  # three standard errors
    assert rows.train_size.num_examples + rows.held_out_size.num_examples == 4000
    trained, held_out = texts_of(rows.train), texts_of(rows.held_out)
    assert (len(trained), len(held_out)) == (rows.train_size.num_examples, rows.held_out_size.num_examples)
    assert sorted(trained + held_out) == sorted(tuple(ids) for ids, _ in numbered(4000))
    for size, part in ((rows.train_size, trained), (rows.held_out_size, held_out)):
        assert size.label_counts == tuple(sum(ids[1] % 2 == label for ids in part) for label in (0, 1))


def test_the_same_rows_are_held_out_on_every_machine_and_stack() -> None:
    """FarmHash64 of "101 7 102" and so on, mod 10,000, is below 1,000 for these alone."""
    held_out = {ids[1] for ids in texts_of(divide(numbered(400), 0.1).held_out)}
    fingerprints = tf.fingerprint([f"101 {i} 102" for i in range(400)]).numpy().view(np.uint64)[:, 0]
    assert held_out == {i for i in range(400) if int(fingerprints[i]) % 10_000 < 1000}
    assert sorted(held_out)[:8] == [15, 17, 18, 26, 34, 36, 47, 49]


def test_copies_of_a_text_are_on_one_side_whatever_their_label_and_place() -> None:
    once = numbered(600)
    twice = [*once, *((ids, 1 - label) for ids, label in reversed(once))]
    rows = divide(twice, 0.2)
    assert not set(texts_of(rows.train)) & set(texts_of(rows.held_out))
    assert set(texts_of(rows.held_out)) == set(texts_of(divide(once, 0.2).held_out))


def test_a_row_stays_on_its_side_when_others_join_and_when_the_share_grows() -> None:
    few = set(texts_of(divide(numbered(500), 0.1).held_out))
    more = set(texts_of(divide(numbered(900), 0.1).held_out))
    assert few == {ids for ids in more if ids[1] < 500}
    assert more < set(texts_of(divide(numbered(900), 0.2).held_out))


@pytest.mark.parametrize("length_buckets", [True, False])
def test_batches_of_a_part_are_full_and_each_of_its_examples_comes_once_an_epoch(
    length_buckets: bool,
) -> None:
    rows = divide(numbered(1000), 0.3)
    batches = bert_batches.make_batches(
        rows.train,
        size=rows.train_size,
        batch_size=8,
        num_epochs=2,
        shuffle_seed=1,
        length_buckets=length_buckets,
    )
    found = [[int(i) for i in inputs["input_word_ids"][:, 1]] for inputs, _, _ in batches.as_numpy_iterator()]
    num_steps = rows.train_size.num_steps(8)
    assert len(found) == 2 * num_steps
    expected = sorted(ids[1] for ids in texts_of(rows.train))
    for epoch in (found[:num_steps], found[num_steps:]):
        assert sorted(i for batch in epoch for i in batch) == expected


def test_a_part_that_is_too_small_is_trained_on() -> None:
    rows = divide(numbered(148), 0.1)
    num = sum(ids[1] < 148 for ids in texts_of(divide(numbered(1000), 0.1).held_out))
    assert 0 < num < 30
    assert rows.held_out is None
    assert rows.train_size.num_examples == len(texts_of(rows.train)) == 148
    assert rows.sentence(best_epoch=12, num_epochs=12) == (
        f"epoch 12 of 12, the last: training.held_out_share = 0.1 would hold out {num} of 148 texts, under 30"
    )


def test_a_label_that_would_be_held_out_whole_is_trained_on() -> None:
    held_out = texts_of(divide(numbered(1000), 0.1).held_out)
    rows = divide([(ids, int(tuple(ids) == held_out[0])) for ids, _ in numbered(1000)], 0.1)
    assert rows.held_out is None
    assert rows.train_size.label_counts == (999, 1)
    assert rows.sentence(best_epoch=2, num_epochs=2) == (
        "epoch 2 of 2, the last: training.held_out_share = 0.1 would hold out every text of the label 'b'"
    )


def test_a_label_that_the_part_lacks_is_named() -> None:
    trained = texts_of(divide(numbered(1000), 0.1).train)
    rows = divide([(ids, int(tuple(ids) == trained[0])) for ids, _ in numbered(1000)], 0.1)
    assert rows.sentence(best_epoch=1, num_epochs=2) == (
        f"epoch 1 of 2, chosen on {rows.held_out_size.num_examples} texts of train that it did not train on, "
        "none of which is labelled 'b'"
    )


def test_no_share_holds_nothing_out() -> None:
    rows = divide(numbered(400), 0)
    assert (rows.held_out, rows.train_size.num_examples) == (None, 400)
    assert rows.sentence(best_epoch=3, num_epochs=3) == "epoch 3 of 3, the last: training.held_out_share is 0"


def _weights(toy: Any, folder: pathlib.Path, encoder: resolve.Encoder, *, eval_files: str) -> dict[str, Any]:
    training = bert_task.TrainingConfig(epochs=3, batch_size=16, learning_rate=5e-3, held_out_share=0.4)
    fn_args = toy.fn_args(folder, encoder_path=encoder.path, training=training)
    fn_args.eval_files = [eval_files]
    model = bert_trainer.train(bert_job.make_job(fn_args), strategy=bert_trainer.make_strategy())
    report = json.loads((folder / "model_run" / "training.json").read_text())
    weights = {str(i): weight for i, weight in enumerate(model.get_weights())}
    return weights | {"epoch": report["best_epoch"], "history": np.array(list(report["history"].values()))}


def test_the_eval_split_has_no_say_in_the_weights(
    toy: Any, tiny_encoder: resolve.Encoder, tmp_path: pathlib.Path
) -> None:
    """Three trainings: with the eval split, with another, and with none that could be read."""
    others = {"own": toy.splits["eval"], "train": toy.splits["train"], "none": str(tmp_path / "nothing-*")}
    one, *rest = (
        _weights(toy, tmp_path / name, tiny_encoder, eval_files=path) for name, path in others.items()
    )
    for other in rest:
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)


def test_steps_and_class_weights_are_of_the_rows_that_remain(
    toy: Any, tiny_encoder: resolve.Encoder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 of 83 rows remain: batches of 47 make two steps, and the labels' counts are 10, 24 and 14."""
    given: list[dict[str, Any]] = []
    make_batches = bert_batches.make_batches

    def watched(split: bert_batches.Split, **options: Any) -> tf.data.Dataset:
        given.append(options)
        return make_batches(split, **options)

    monkeypatch.setattr(bert_batches, "make_batches", watched)
    training = bert_task.TrainingConfig(epochs=1, batch_size=47, class_weights="balanced", held_out_share=0.4)
    fn_args = toy.fn_args(tmp_path, encoder_path=tiny_encoder.path, training=training)
    bert_trainer.train(bert_job.make_job(fn_args), strategy=bert_trainer.make_strategy())
    report = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert (report["num_steps"], report["num_train_examples"]) == (2, 48)
    assert given[0]["class_weights"] == (48 / 30, 48 / 72, 48 / 42)
    assert dataclasses.asdict(given[1]["size"]) == {"num_examples": 35, "label_counts": (11, 18, 6)}
