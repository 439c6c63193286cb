"""Which rows of the train split choose the best epoch: a part that is not trained on.

A row's side follows from a hash of its token ids and from nothing else: not from its place, its label, the machine or
the other rows. Copies of a text are on one side, and a row stays where it is while others join. What the gates
read, the eval split, is not looked at: what chose would flatter itself there.
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

# Our own choice. On fewer texts, of which one is more than three points of accuracy, epochs differ by chance; and
# they are more use to the training.
MIN_EXAMPLES = 30


@dataclasses.dataclass(frozen=True)
class Division:
    """The train split in its two parts."""

    train: Split
    """What is trained on."""
    train_size: SplitSize
    held_out: Split | None
    """What the epoch is chosen on; None: nothing is held out, and the last epoch's weights are kept."""
    held_out_size: SplitSize
    why: str
    """Why nothing is held out, or which labels the held-out part lacks; empty: it has them all."""

    def sentence(self, *, best_epoch: int, num_epochs: int) -> str:
        """Says what chose the epoch.

        Args:
            best_epoch: 1, 2, ...
            num_epochs: how many were made.
        """
        if self.held_out is None:
            return f"epoch {best_epoch} of {num_epochs}, the last: {self.why}"
        texts = f"{self.held_out_size.num_examples:,} texts of train that it did not train on"
        return f"epoch {best_epoch} of {num_epochs}, chosen on {texts}" + (
            f", {self.why}" if self.why else ""
        )


def divide(split: Split, *, share: float, labels: tuple[str, ...]) -> Division:
    """Divides the train split.

    Nothing is held out where the part would have under MIN_EXAMPLES examples, or all of a label's.

    Args:
        split: the whole train split.
        share: about this share is held out; 0: nothing.
        labels: every label, by label id.

    Raises:
        ValueError: the split is empty, or an example's label is none of `labels`.
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
    """Which examples of a batch are held out: bool [n].

    The hash is FarmHash's fingerprint of the word ids as text ("101 2023 102"), which is the same everywhere.
    """
    ids = tf.strings.reduce_join(tf.strings.as_string(examples[INPUT_WORD_IDS]), axis=1, separator=" ")
    return tf.strings.to_hash_bucket_fast(ids, NUM_BUCKETS) < round(share * NUM_BUCKETS)


def _all_trained_on(split: Split, size: SplitSize, *, why: str) -> Division:
    none = SplitSize(num_examples=0, label_counts=(0,) * len(size.label_counts))
    return Division(train=split, train_size=size, held_out=None, held_out_size=none, why=why)


def _without(labels: tuple[str, ...], whole: SplitSize, part: SplitSize) -> list[str]:
    """The labels of which there are examples, and none in a part."""
    counts = zip(labels, whole.label_counts, part.label_counts, strict=True)
    return [name for name, had, has in counts if had > has == 0]


def _missing(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more labels" if len(names) > 3 else ""
    return f"none of which is labelled {', '.join(map(repr, names[:3]))}{more}"
