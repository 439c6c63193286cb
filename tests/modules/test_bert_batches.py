"""Batches: every example once an epoch, similar lengths, weights that add up over replicas."""

from __future__ import annotations

import pathlib
from collections import Counter
from typing import Any

import bert_batches
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

ENCODER_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")

# What TensorFlow Transform writes for ragged int64 [batch, None] outputs and a dense label.
SCHEMA = text_format.Parse(
    "".join(f'feature {{ name: "{name}$ragged_values" type: INT }} ' for name in ENCODER_INPUTS)
    + 'feature { name: "label_id" type: INT presence { min_fraction: 1 } shape {} } '
    + 'tensor_representation_group { key: "" value { '
    + "".join(
        f'tensor_representation {{ key: "{name}" value {{ ragged_tensor {{ '
        f'feature_path {{ step: "{name}$ragged_values" }} }} }} }} '
        for name in ENCODER_INPUTS
    )
    + "} }",
    schema_pb2.Schema(),
)


class Accessor:
    """Reads as TFX's DataAccessor does, by the same library."""

    def tf_dataset_factory(
        self, files: list[str], options: Any, schema: schema_pb2.Schema
    ) -> tf.data.Dataset:
        return tfxio.TFExampleRecord(files, schema=schema, telemetry_descriptors=[]).TensorFlowDataset(
            options
        )


def _split(folder: pathlib.Path, examples: list[tuple[list[int], int]]) -> bert_batches.Split:
    """A split of (word ids, label id)."""
    with tf.io.TFRecordWriter(str(folder / "examples.gz"), "GZIP") as writer:
        for word_ids, label_id in examples:
            values = [word_ids, [1] * len(word_ids), [0] * len(word_ids)]
            lists = {f"{n}$ragged_values": v for n, v in zip(ENCODER_INPUTS, values, strict=True)}
            lists["label_id"] = [label_id]
            features = {n: tf.train.Feature(int64_list=tf.train.Int64List(value=v)) for n, v in lists.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return bert_batches.Split("train", (str(folder / "*.gz"),), Accessor(), SCHEMA)


def _numbered(num_examples: int) -> list[tuple[list[int], int]]:
    """Example i starts with the id i, has 1 to 40 tokens, and label 0 or 1."""
    lengths = np.random.default_rng(3).integers(1, 41, num_examples)
    return [([i] + [7] * int(length - 1), i % 2) for i, length in enumerate(lengths)]


def _batches(split: bert_batches.Split, **options: Any) -> list[tuple[dict[str, Any], Any, Any]]:
    size = bert_batches.measure(split, labels=("a", "b"))
    return list(bert_batches.make_batches(split, size=size, **options).as_numpy_iterator())


def _numbers(batches: list[tuple[dict[str, Any], Any, Any]]) -> list[int]:
    return [int(number) for inputs, _, _ in batches for number in inputs["input_word_ids"][:, 0]]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> bert_batches.Split:
    return _split(tmp_path_factory.mktemp("split"), _numbered(1000))


@pytest.mark.parametrize("length_buckets", [True, False])
@pytest.mark.parametrize("batch_size", [7, 32, 1000, 1001])
def test_each_example_comes_once_an_epoch(
    split: bert_batches.Split, length_buckets: bool, batch_size: int
) -> None:
    batches = _batches(
        split, batch_size=batch_size, num_epochs=3, shuffle_seed=1, length_buckets=length_buckets
    )
    num_steps = -(-1000 // batch_size)
    assert len(batches) == 3 * num_steps
    for epoch in range(3):
        numbers = _numbers(batches[epoch * num_steps : (epoch + 1) * num_steps])
        assert sorted(numbers) == list(range(1000))


def test_number_of_steps_is_that_of_the_batches(split: bert_batches.Split) -> None:
    size = bert_batches.measure(split, labels=("a", "b"))
    assert size == bert_batches.SplitSize(num_examples=1000, label_counts=(500, 500))
    assert [size.num_steps(batch_size) for batch_size in (32, 1000, 1001, 333)] == [32, 1, 1, 4]
    assert Counter(len(labels) for _, labels, _ in _batches(split, batch_size=333, shuffle_seed=1)) == {
        333: 3,
        1: 1,
    }


def test_epochs_have_other_batches_and_a_seed_gives_them_again(split: bert_batches.Split) -> None:
    first = _batches(split, batch_size=32, num_epochs=2, shuffle_seed=1)
    again = _batches(split, batch_size=32, num_epochs=2, shuffle_seed=1)
    other = _batches(split, batch_size=32, num_epochs=2, shuffle_seed=2)
    assert _numbers(first) == _numbers(again)
    assert _numbers(first) != _numbers(other)
    epochs = [{frozenset(_numbers([batch])) for batch in first[start : start + 32]} for start in (0, 32)]
    assert not epochs[0] & epochs[1]


def test_batches_hold_similar_lengths_in_random_order(split: bert_batches.Split) -> None:
    def padding(batches: list[Any]) -> float:
        masks = [inputs["input_mask"] for inputs, _, _ in batches]
        return 1 - sum(m.sum() for m in masks) / sum(m.size for m in masks)

    batches = _batches(split, batch_size=32, shuffle_seed=1)
    assert padding(batches) < 0.12
    assert padding(_batches(split, batch_size=32, shuffle_seed=1, length_buckets=False)) > 0.4
    lengths = [inputs["input_mask"].shape[1] for inputs, _, _ in batches]
    assert lengths != sorted(lengths)
    assert abs(np.corrcoef(lengths, range(len(lengths)))[0, 1]) < 0.5


def test_unshuffled_batches_keep_the_order_of_the_files(split: bert_batches.Split) -> None:
    assert _numbers(_batches(split, batch_size=32, length_buckets=False)) == list(range(1000))


def test_batch_is_padded_to_its_longest_with_zeros(tmp_path: pathlib.Path) -> None:
    split = _split(tmp_path, [([101, 7, 102], 1), ([101, 102], 0)])
    ((inputs, label_ids, weights),) = _batches(split, batch_size=4, length_buckets=False)
    assert inputs["input_word_ids"].tolist() == [[101, 7, 102], [101, 102, 0]]
    assert inputs["input_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert inputs["input_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert inputs["input_word_ids"].dtype == np.int32
    assert label_ids.tolist() == [1, 0]
    assert weights.tolist() == [0.5, 0.5]


def test_weights_are_class_weights_over_the_size_of_the_batch(tmp_path: pathlib.Path) -> None:
    split = _split(tmp_path, [([1], 0), ([1], 0), ([1], 0), ([1], 1), ([1], 1)])
    batches = _batches(split, batch_size=4, length_buckets=False, class_weights=(2.0, 6.0))
    assert [weights.tolist() for _, _, weights in batches] == [[0.5, 0.5, 0.5, 1.5], [6.0]]


def test_each_replica_gets_a_part_of_each_batch_though_it_be_empty(tmp_path: pathlib.Path) -> None:
    split = _split(tmp_path, [([i, 9], 0) for i in range(6)])
    shards = _batches(split, batch_size=5, num_replicas=2, length_buckets=False)
    assert [_numbers([shard]) for shard in shards] == [[0, 1], [2, 3, 4], [], [5]]
    assert [inputs["input_mask"].shape for inputs, _, _ in shards] == [(2, 2), (3, 2), (0, 2), (1, 2)]
    # Weights are those of the whole batch: 5 and 1.
    assert [weights.tolist() for _, _, weights in shards] == [
        pytest.approx([0.2] * 2), pytest.approx([0.2] * 3), [], [1.0]
    ]  # fmt: skip


def test_balanced_weights_are_scikit_learns() -> None:
    size = bert_batches.SplitSize(num_examples=8, label_counts=(6, 2, 0, 0))
    assert bert_batches.balanced_class_weights(size) == (4 / 6, 2.0, 0.0, 0.0)


def test_a_label_that_the_task_does_not_name_is_refused(tmp_path: pathlib.Path) -> None:
    split = _split(tmp_path, [([1], 0), ([1], -1), ([1], 2)])
    with pytest.raises(ValueError, match=r"^2 examples of split 'train' .* data\.labels = \['a', 'b'\]"):
        bert_batches.measure(split, labels=("a", "b"))


def test_an_empty_split_is_refused(tmp_path: pathlib.Path) -> None:
    split = _split(tmp_path, [])
    with pytest.raises(ValueError, match=r"^split 'train' has no examples .* data\.files"):
        bert_batches.measure(split, labels=("a", "b"))
