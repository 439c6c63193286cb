"""Splits the train split into training rows and a held-out part that selects the best epoch.

A row's side depends only on a hash of its token ids: not on its position, its label, the machine or other rows. Copies
of a text are on one side, and a row keeps its side when others are added. The eval split, which the gates read, is not
used: selecting on it would bias the evaluation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import bert_batches
import tensorflow as tf
from bert_batches import Split, SplitSize
from bert_task import INPUT_WORD_IDS

# Values of the hash: shares are exact to a hundredth of a percent.
NUM_BUCKETS = 10_000

# Chosen for this project. With fewer texts, one text is more than three points of accuracy, so epochs differ by chance;
# the texts are more useful for training.
MIN_EXAMPLES = 30


@dataclasses.dataclass(frozen=True)
class Division:
    """The train split in its two parts."""

    train: Split
    """The training rows."""
    train_size: SplitSize
    held_out: Split | None
    """The rows that select the epoch; None if nothing is held out, which keeps the last epoch's weights."""
    held_out_size: SplitSize
    why: str
    """The reason for holding out nothing, or the labels missing in the held-out part; empty if it has all."""

    def sentence(self, *, best_epoch: int, num_epochs: int) -> str:
        """Describes the selection of the epoch.

        Args:
            best_epoch: 1, 2, ...
            num_epochs: number of epochs trained.
        """
        if self.held_out is None:
            return f"epoch {best_epoch} of {num_epochs}, the last: {self.why}"
        texts = f"{self.held_out_size.num_examples:,} texts of train that it did not train on"
        return f"epoch {best_epoch} of {num_epochs}, chosen on {texts}" + (
            f", {self.why}" if self.why else ""
        )


def divide(split: Split, *, share: float, labels: tuple[str, ...]) -> Division:
    """Divides the train split.

    Holds out nothing if the part would have under MIN_EXAMPLES examples, or all examples of a label.

    Args:
        split: the whole train split.
        share: approximate share to hold out; 0 for nothing.
        labels: every label, by label id.

    Raises:
        ValueError: the split is empty, or an example's label is not in `labels`.
    """
    whole = bert_batches.measure(split, labels=labels)
    if not share:
        return _all_trained_on(split, whole, why="training.held_out_share is 0")
    part = dataclasses.replace(split, keep=lambda examples: is_held_out(examples, share=share))
    held_out = bert_batches.count(part, labels=labels)
    rest = SplitSize(
        num_examples=whole.num_examples - held_out.num_examples,
        label_counts=tuple(a - b for a, b in zip(whole.label_counts, held_out.label_counts, strict=True)),
    )
    would = f"training.held_out_share = {share:g} would hold out"
    if held_out.num_examples < MIN_EXAMPLES:
        few = f"{held_out.num_examples} of {whole.num_examples:,} texts, under {MIN_EXAMPLES}"
        return _all_trained_on(split, whole, why=f"{would} {few}")
    if lost := _without(labels, whole, rest):
        return _all_trained_on(split, whole, why=f"{would} every text of the label {lost[0]!r}")
    return Division(
        train=dataclasses.replace(split, keep=lambda examples: ~is_held_out(examples, share=share)),
        train_size=rest,
        held_out=part,
        held_out_size=held_out,
        why=_missing(_without(labels, whole, held_out)),
    )


def is_held_out(examples: dict[str, Any], *, share: float) -> tf.Tensor:
    """Selects the held-out examples of a batch: bool [n].

    The hash is FarmHash's fingerprint of the word ids as text ("101 2023 102"), which is the same everywhere.
    """
    ids = tf.strings.reduce_join(tf.strings.as_string(examples[INPUT_WORD_IDS]), axis=1, separator=" ")
    return tf.strings.to_hash_bucket_fast(ids, NUM_BUCKETS) < round(share * NUM_BUCKETS)


def _all_trained_on(split: Split, size: SplitSize, *, why: str) -> Division:
    none = SplitSize(num_examples=0, label_counts=(0,) * len(size.label_counts))
    return Division(train=split, train_size=size, held_out=None, held_out_size=none, why=why)


def _without(labels: tuple[str, ...], whole: SplitSize, part: SplitSize) -> list[str]:
    """Labels with examples in the whole but none in a part."""
    counts = zip(labels, whole.label_counts, part.label_counts, strict=True)
    return [name for name, had, has in counts if had > has == 0]


def _missing(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more labels" if len(names) > 3 else ""
    return f"none of which is labelled {', '.join(map(repr, names[:3]))}{more}"
