"""How to train on a data set, from its size and lengths; each choice with its reason."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

from bert_pipeline.new_task.profile import words
from bert_pipeline.new_task.roles import Roles
from bert_pipeline.new_task.tables import Table

# WordPiece tokens a word or mark: 1.25 covers noisy text in the vocabulary of bert-base-uncased.
_TOKENS_PER_WORD = 1.25
_LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
# Share of the texts that must fit without being cut.
_FITTING = 0.99
_MAX_SAMPLE = 5000
# Tokens that the default encoder is trained on in a second, in float32 on two EPYC vCPUs: 72 of the shoe reviews, which
# have 37 tokens on average. From so many minutes on, it is said beforehand.
_TOKENS_A_SECOND = 2_700
_LONG_MINUTES = 15

# Of `data.hash_buckets`, where a set has no split of its own.
_EVAL_SHARE = 0.2

# A label's share may differ so much between splits before writing down an expected share would be wrong.
_SHARE_DIFFERENCE = 0.07


@dataclasses.dataclass(frozen=True)
class Settings:
    """What goes into the task file beside the columns."""

    labels: tuple[str, ...]
    label_shares: dict[str, float]
    """Empty: not to be checked."""

    max_seq_length: int
    epochs: int
    batch_size: int
    learning_rate: float
    num_tokens: int
    """That the training reads, about; all epochs."""

    num_eval: int
    """Texts that the gates judge on, about."""

    macro_f1_floor: float
    class_weights: str
    why: dict[str, str]

    @property
    def long_training(self) -> str:
        """A sentence where the training takes long without a GPU; else empty."""
        minutes = self.num_tokens / _TOKENS_A_SECOND / 60
        if minutes < _LONG_MINUTES:
            return ""
        return (
            f"training reads about {self.num_tokens / 1e6:.1f} million tokens: some {minutes:.0f} minutes on two CPU "
            f"cores; a smaller text.max_seq_length than {self.max_seq_length} or fewer training.epochs shorten it"
        )


def choose_settings(tables: dict[str, Table], roles: Roles) -> Settings:
    """Chooses; sizes and rates are those of the shipped tasks (data/README.md has their scores).

    Args:
        tables: by split.
        roles: of the columns.
    """
    counts = {split: label_counts(table, roles.label) for split, table in tables.items()}
    main = counts.get("train") or counts["all"]
    labels = sorted(set().union(*counts.values()), key=_label_key)
    num_rows = main.total()
    lengths = _lengths(tables.get("train") or tables["all"], roles)
    length, length_why = _max_seq_length(lengths)
    epochs, batch_size, rate, training_why = _training(num_rows, num_labels=len(labels))
    rarest = min(main.values()) / num_rows
    imbalanced = rarest * len(labels) < 0.1
    shares, shares_why = _shares(counts, main, labels)
    return Settings(
        labels=tuple(labels),
        label_shares=shares,
        max_seq_length=length,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate,
        num_tokens=round(epochs * num_rows * sum(min(n, length) for n in lengths) / len(lengths)),
        num_eval=counts["eval"].total() if "eval" in counts else round(num_rows * _EVAL_SHARE),
        macro_f1_floor=round(1 / len(labels) + 0.05, 2),
        class_weights="balanced" if imbalanced else "none",
        why={"max_seq_length": length_why, "training": training_why, "label_shares": shares_why},
    )


def label_counts(table: Table, label: str) -> collections.Counter[str]:
    """How often each label stands in a table."""
    index = table.columns.index(label)
    return collections.Counter(row[index] for row in table.rows if row[index])


def _label_key(label: str) -> tuple[bool, float, str]:
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (False, number, label) if math.isfinite(number) else (True, 0.0, label)


def _lengths(table: Table, roles: Roles) -> list[float]:
    """Tokens of a sample of the examples, about, special ones included; the shortest first."""
    indices = [table.columns.index(name) for name in roles.text]
    step = max(1, len(table.rows) // _MAX_SAMPLE)
    return sorted(
        sum(len(words(row[i])) for i in indices) * _TOKENS_PER_WORD + 1 + len(indices)
        for row in table.rows[::step]
    )


def _max_seq_length(lengths: Sequence[float]) -> tuple[int, str]:
    wanted = lengths[min(int(len(lengths) * _FITTING), len(lengths) - 1)]
    length = next((n for n in _LENGTHS if n >= wanted), _LENGTHS[-1])
    cut = sum(n > length for n in lengths) / len(lengths)
    median = lengths[len(lengths) // 2]
    return (
        length,
        f"about {median:.0f} tokens in the middle, {wanted:.0f} at the 99th percentile; {cut:.1%} are cut",
    )


def _training(num_rows: int, *, num_labels: int) -> tuple[int, int, float, str]:
    """Epochs, batch size, learning rate."""
    if num_labels > 20:
        return 5, 32, 2e-4, f"{num_labels} labels want more steps and a higher rate"
    if num_rows < 2_500:
        return 4, 16, 1e-4, "few examples: small batches, more epochs"
    if num_rows < 6_000:
        return 4, 32, 5e-5, "some thousand examples"
    return 2, 32, 5e-5, "many examples: two epochs do"


def _shares(
    counts: dict[str, collections.Counter[str]], main: collections.Counter[str], labels: Sequence[str]
) -> tuple[dict[str, float], str]:
    if len(labels) > 20:
        return {}, "too many labels to bound each one's share"
    shares = {label: round(main[label] / main.total(), 3) for label in labels}
    for split, found in counts.items():
        for label in labels:
            difference = abs(found[label] / found.total() - shares[label])
            if difference > _SHARE_DIFFERENCE:
                return {}, f"the share of {label!r} differs by {difference:.2f} in {split}: not bounded"
    return shares, "as in the data; a run stops when one lies 0.15 off"
