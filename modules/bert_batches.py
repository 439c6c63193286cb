"""Transformed examples on disk -> padded batches of similar length, every example once per epoch.

Batches of similar length need little padding. The algorithm is that of Hugging Face's `group_by_length`
and of fairseq: shuffle, split into windows of many batches, sort each window by length, split it into
batches, shuffle the batches. Compared with fixed length buckets this gives one partial batch per epoch
(not one per bucket), needs no boundaries, and its number of steps is known.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from bert_task import ENCODER_INPUTS, INPUT_WORD_IDS, LABEL_ID
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public.tfxio import TensorFlowDatasetOptions

# Batches per window. More batches mean less padding and less mixing. Measured (tests/benchmarks/bench_train.py, lengths
# much like sst2's, batch 32): 1 -> 56 % padding, 8 -> 21 %, 16 -> 16 %, 32 -> 13 %, 64 -> 10 %.
WINDOW_BATCHES = 32

# Noise on the sort key: without it a split that fits into one window would have
# nearly the same batches in every epoch.
LENGTH_NOISE = 0.2

# Size of the shuffle buffer in records; up to this many examples the shuffle is perfect.
# A serialized example of 128 tokens takes about 0.5 kB.
MAX_SHUFFLE_BUFFER = 500_000

COUNT_BATCH_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of Transform's output."""

    name: str
    """train or eval; for messages."""

    files: tuple[str, ...]
    """File patterns."""

    data_accessor: Any
    """TFX's DataAccessor: `tf_dataset_factory(files, options, schema)`."""

    schema: schema_pb2.Schema
    """Schema of the transformed examples, which declares them ragged."""

    keep: Callable[[dict[str, Any]], tf.Tensor] | None = None
    """Selects the examples of a batch that belong to the split, bool [n]; None for all."""

    def read(self, options: TensorFlowDatasetOptions) -> tf.data.Dataset:
        """Dataset of {ENCODER_INPUTS: ragged int64 [n, None], LABEL_ID: int64 [n]}; only the last may be short."""
        batches = self.data_accessor.tf_dataset_factory(list(self.files), options, self.schema)
        if self.keep is None:
            return batches
        kept = batches.map(lambda batch: _rows(batch, self.keep(batch)), num_parallel_calls=tf.data.AUTOTUNE)
        return kept.unbatch().ragged_batch(options.batch_size)


def _rows(batch: dict[str, Any], mask: tf.Tensor) -> dict[str, Any]:
    return {name: tf.ragged.boolean_mask(values, mask) for name, values in batch.items()}


@dataclasses.dataclass(frozen=True)
class SplitSize:
    """Number of examples in a split."""

    num_examples: int
    label_counts: tuple[int, ...]
    """Number of examples by label id."""

    def num_steps(self, batch_size: int) -> int:
        """Batches per epoch; the last one may be smaller.

        >>> SplitSize(num_examples=33, label_counts=(33,)).num_steps(32)
        2
        """
        return math.ceil(self.num_examples / batch_size)


def measure(split: Split, *, labels: tuple[str, ...]) -> SplitSize:
    """Counts a split in one pass over its files (10,000 examples a second on a busy machine).

    Raises:
        ValueError: the split is empty, or an example's label is not in `labels`.
    """
    size = count(split, labels=labels)
    if not size.num_examples:
        raise ValueError(
            f"split {split.name!r} has no examples ({', '.join(split.files)}); "
            "check data.files and data.hash_buckets"
        )
    return size


def count(split: Split, *, labels: tuple[str, ...]) -> SplitSize:
    """The same for a split that may be empty.

    Raises:
        ValueError: an example's label is not in `labels`.
    """
    options = TensorFlowDatasetOptions(batch_size=COUNT_BATCH_SIZE, num_epochs=1, shuffle=False)
    start = tf.zeros([len(labels) + 1], tf.int32)
    counts = split.read(options).reduce(start, lambda total, batch: total + _count_ids(batch, len(labels)))
    *label_counts, num_unknown = counts.numpy().tolist()
    if num_unknown:
        raise ValueError(
            f"{num_unknown} examples of split {split.name!r} have a label that is none of "
            f"data.labels = {list(labels)}; add the label there or correct the rows"
        )
    return SplitSize(num_examples=sum(label_counts), label_counts=tuple(label_counts))


def _count_ids(batch: dict[str, tf.Tensor], num_labels: int) -> tf.Tensor:
    """Examples of each label id, and last those of any other: int32 [num_labels + 1]."""
    ids = tf.cast(tf.reshape(batch[LABEL_ID], [-1]), tf.int32)
    known = (ids >= 0) & (ids < num_labels)
    return tf.math.bincount(tf.where(known, ids, num_labels), minlength=num_labels + 1)


def balanced_class_weights(size: SplitSize) -> tuple[float, ...]:
    """num_examples / (labels seen * count), scikit-learn's `balanced`; 0 for a label never seen. Their mean is 1.

    >>> balanced_class_weights(SplitSize(num_examples=4, label_counts=(3, 1)))
    (0.6666666666666666, 2.0)
    """
    num_labels = sum(1 for count in size.label_counts if count)
    return tuple(size.num_examples / (num_labels * count) if count else 0.0 for count in size.label_counts)


def make_batches(
    split: Split,
    *,
    size: SplitSize,
    batch_size: int,
    num_epochs: int = 1,
    num_replicas: int = 1,
    shuffle_seed: int | None = None,
    length_buckets: bool = True,
    class_weights: tuple[float, ...] | None = None,
) -> tf.data.Dataset:
    """Batches of the split, each example once per epoch.

    An example weighs class_weight / (size of its global batch). Summed over a batch and over all
    replicas, the weighted losses are the global mean however unevenly the batch was split.

    Args:
        split: the examples.
        size: from `measure`.
        batch_size: global, in examples: over all replicas together.
        num_epochs: passes, each in a different order.
        num_replicas: each batch comes as this many elements in turn, one for each replica, of which
            some may be empty.
        shuffle_seed: None for the order of the files.
        length_buckets: False to batch examples in their order.
        class_weights: one per label id; None for all 1.

    Returns:
        Dataset of ({ENCODER_INPUTS: int32 [n, length], 0 where padded}, label_ids int64 [n],
        weights float32 [n]); length is the longest of the global batch.
    """
    windows = split.read(
        TensorFlowDatasetOptions(
            batch_size=batch_size * (WINDOW_BATCHES if length_buckets else 1),
            num_epochs=1,
            shuffle=shuffle_seed is not None,
            shuffle_buffer_size=_num_shuffled(split, size),
            shuffle_seed=shuffle_seed,
        )
    ).repeat(num_epochs)
    weights = tf.constant(class_weights or [1.0] * len(size.label_counts), tf.float32)
    noise = LENGTH_NOISE if shuffle_seed is not None else 0.0

    def cut(window: dict[str, Any], seed: tf.Tensor) -> tf.data.Dataset:
        order = _order_by_length(window, seed=seed, noise=noise) if length_buckets else _order_as_read(window)
        starts = tf.range(0, tf.size(order), batch_size)
        if shuffle_seed is not None:
            starts = tf.random.experimental.stateless_shuffle(starts, seed=[seed, 1])
        chosen = tf.data.Dataset.from_tensor_slices(starts).map(
            lambda start: order[start : start + batch_size]
        )
        return chosen.map(lambda rows: _dense_batch(window, rows=rows, class_weights=weights))

    seeds = tf.data.Dataset.random(seed=shuffle_seed or 0)
    batches = tf.data.Dataset.zip((windows, seeds)).flat_map(cut)
    if num_replicas > 1:
        batches = batches.flat_map(lambda *batch: _split_for_replicas(batch, num_replicas))
    return batches.prefetch(2 * num_replicas)


def _num_shuffled(split: Split, size: SplitSize) -> int:
    """Buffer size: for a split that is a part of its files, other records pass the buffer too."""
    return MAX_SHUFFLE_BUFFER if split.keep else min(size.num_examples, MAX_SHUFFLE_BUFFER)


def _order_as_read(window: dict[str, Any]) -> tf.Tensor:
    return tf.range(window[INPUT_WORD_IDS].nrows(out_type=tf.int32))


def _order_by_length(window: dict[str, Any], *, seed: tf.Tensor, noise: float) -> tf.Tensor:
    """Rows of a window by length times 1 +- noise / 2: int32 [rows]."""
    lengths = tf.cast(window[INPUT_WORD_IDS].row_lengths(), tf.float32)
    factor = 1 + noise * (tf.random.stateless_uniform(tf.shape(lengths), seed=[seed, 0]) - 0.5)
    return tf.argsort(lengths * factor, stable=True)


def _dense_batch(window: dict[str, Any], *, rows: tf.Tensor, class_weights: tf.Tensor) -> tuple[Any, ...]:
    """Takes rows of a window, padded to their longest.

    With word ids [[101, 7, 102], [101, 102]] and rows [1, 0]: input_word_ids
    [[101, 102, 0], [101, 7, 102]], input_mask [[1, 1, 0], [1, 1, 1]], weights [0.5, 0.5].
    """
    inputs = {name: tf.cast(tf.gather(window[name], rows).to_tensor(), tf.int32) for name in ENCODER_INPUTS}
    label_ids = tf.gather(tf.reshape(window[LABEL_ID], [-1]), rows)
    weights = tf.gather(class_weights, label_ids) / tf.cast(tf.size(rows), tf.float32)
    return inputs, label_ids, weights


def _split_for_replicas(batch: tuple[Any, ...], num_replicas: int) -> tf.data.Dataset:
    """A batch of 5 for 2 replicas: rows 0-1, rows 2-4; a batch of 1: none, row 0."""
    num_rows = tf.shape(batch[1])[0]

    def shard(replica: tf.Tensor) -> tuple[Any, ...]:
        start = replica * num_rows // num_replicas
        stop = (replica + 1) * num_rows // num_replicas
        return tf.nest.map_structure(lambda tensor: tensor[start:stop], batch)

    return tf.data.Dataset.range(num_replicas, output_type=tf.int32).map(shard)
