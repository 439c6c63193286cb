"""Texts -> derived columns for statistics: length, unknown tokens, truncation, script, duplicates."""

from __future__ import annotations

import collections
import functools
import unicodedata
from collections.abc import Mapping, Sequence

import bert_text
import pyarrow as pa
import tensorflow as tf
import tensorflow_data_validation as tfdv
from bert_task import INPUT_WORD_IDS
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import statistics_pb2

NUM_TOKENS = "text_num_tokens"
UNKNOWN_SHARE = "text_unknown_share"
TRUNCATED = "text_truncated"
SCRIPT = "text_script"
EMPTY = "text_empty"
DUPLICATE = "text_duplicate"

# Categories are bytes, so their statistics are shares; numbers have a histogram.
CATEGORIES = (TRUNCATED, SCRIPT, EMPTY, DUPLICATE)
NUMBERS = (NUM_TOKENS, UNKNOWN_SHARE)
DERIVED = (*NUMBERS, *CATEGORIES)

# A text counts as `mixed` if no script has at least this share of its letters.
_MAIN_SCRIPT_SHARE = 0.8

# Longer than any text: the tokenizer must not truncate before truncation is measured.
_UNCUT = 2**30

# Texts per call of the tokenizer.
_BATCH = 1024


class TextFeatures:
    """Derives columns from texts with the task's own tokenizer."""

    def __init__(self, *, vocab_path: str, lower_case: bool, max_seq_length: int) -> None:
        """Reads the vocabulary.

        Args:
            vocab_path: the encoder's vocab.txt.
            lower_case: whether it expects lower-cased text.
            max_seq_length: tokens beyond which a text is truncated ([CLS] and [SEP] counted).
        """
        self._vocab = bert_text.load_vocabulary(vocab_path, lower_case=lower_case)
        self._max_seq_length = max_seq_length

    def columns(self, texts: Sequence[Sequence[bytes]]) -> dict[str, list[int] | list[float] | list[bytes]]:
        """Derives one value of each column for each example.

        Args:
            texts: for each text column of the task (one or two) its texts, UTF-8; b"" where one is missing.

        Returns:
            text_num_tokens: int, [CLS] and [SEP] counted, nothing cut.
            text_unknown_share: float, 0 to 1: [UNK] among the tokens, special tokens left out; 0 for no token.
            text_truncated: b"yes" or b"no": whether training and serving cut it.
            text_script: of the letters: b"latin", b"cyrillic", ...; b"mixed" where no script has 80 % of
                them; b"none" where there is no letter.
            text_empty: b"yes" or b"no": nothing but white space in any of the columns.
            text_duplicate: b"yes" or b"no": an earlier example of this call has the same texts, but for case and
                white space.

        Example: with a vocabulary of English, [[b"good shoes", b"Good  shoes", b"12"]] gives
            text_num_tokens [4, 4, 3], text_script [b"latin", b"latin", b"none"] and
            text_duplicate [b"no", b"yes", b"no"].
        """
        num_tokens: list[int] = []
        unknown: list[float] = []
        for start in range(0, len(texts[0]), _BATCH):
            counts, shares = self._count([column[start : start + _BATCH] for column in texts])
            num_tokens += counts
            unknown += shares
        rows = [[text.decode("utf-8", "replace") for text in row] for row in zip(*texts, strict=True)]
        return {
            NUM_TOKENS: num_tokens,
            UNKNOWN_SHARE: unknown,
            TRUNCATED: [_yes(count > self._max_seq_length) for count in num_tokens],
            SCRIPT: [script(" ".join(row)).encode() for row in rows],
            EMPTY: [_yes(not all(text.strip() for text in row)) for row in rows],
            DUPLICATE: _duplicates(rows),
        }

    def _count(self, texts: Sequence[Sequence[bytes]]) -> tuple[list[int], list[float]]:
        """Number of tokens and share of unknown ones for a batch."""
        encoded = bert_text.encode(
            [tf.constant(list(column), tf.string) for column in texts],
            vocab=self._vocab,
            max_seq_length=_UNCUT,
        )
        ids = encoded[INPUT_WORD_IDS]
        num_tokens = ids.row_lengths().numpy().tolist()
        num_special = len(texts) + 1
        is_unknown = tf.cast(ids.with_values(ids.values == self._vocab.unk_id), tf.int64)
        num_unknown = tf.reduce_sum(is_unknown, axis=1).numpy().tolist()
        shares = [u / max(1, n - num_special) for u, n in zip(num_unknown, num_tokens, strict=True)]
        return num_tokens, shares


def script(text: str) -> str:
    """The script of a text's letters, by their Unicode names: `latin`, `cyrillic`, `cjk`, `mixed`, `none`."""
    counts = collections.Counter(name for name in map(_script_of, text) if name)
    if not counts:
        return "none"
    name, count = counts.most_common(1)[0]
    return name if count >= _MAIN_SCRIPT_SHARE * counts.total() else "mixed"


@functools.lru_cache(maxsize=1 << 16)
def _script_of(character: str) -> str:
    """`a` -> latin; "" for what is no letter. The first word of a letter's Unicode name is its script's."""
    if not character.isalpha():
        return ""
    return unicodedata.name(character, "unknown").split()[0].split("-")[0].lower()


def _duplicates(rows: Sequence[Sequence[str]]) -> list[bytes]:
    seen: set[int] = set()
    found = []
    for row in rows:
        key = hash(tuple(" ".join(text.lower().split()) for text in row))
        found.append(_yes(key in seen))
        seen.add(key)
    return found


def _yes(answer: bool) -> bytes:
    return b"yes" if answer else b"no"


Column = Sequence[bytes] | Sequence[int] | Sequence[float]


def statistics_of(columns: Mapping[str, Column]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Statistics in StatisticsGen's form, for columns that fit into memory.

    Args:
        columns: name to one value for each example; b"" is a missing value.

    Returns:
        A list of one dataset, for `drift.compare` or TFDV.
    """
    arrays = [
        pa.array([[] if value == b"" else [value] for value in values], type=_type(values))
        for values in columns.values()
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())


def _type(values: Column) -> pa.DataType:
    first = next(iter(values), b"")
    if isinstance(first, bytes):
        return pa.large_list(pa.large_binary())
    return pa.large_list(pa.int64() if isinstance(first, int) else pa.float32())
