"""Text to BERT's three inputs, equal to Hugging Face's BertTokenizerFast: the only tokenizer code.

Three steps, each a function below: `split_words` (clean, lower-case, split), WordPiece
(tensorflow_text's FastWordpieceTokenizer), `_pack` (truncate, add [CLS] and [SEP]). All steps are
TensorFlow ops, so training and serving run the same graph; the vocabulary is a constant of that graph,
and serving needs no file. Cleaning and splitting are implemented here, because tensorflow_text's
versions keep control characters, fold compatibility forms, and count a word's length in bytes. This
folder's README lists the remaining differences from Hugging Face.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from bert_task import INPUT_MASK, INPUT_TYPE_IDS, INPUT_WORD_IDS
from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as wordpiece_builder

CLS, SEP, UNK = "[CLS]", "[SEP]", "[UNK]"

# A longer word becomes one [UNK], not pieces (google-research/bert, tokenization.py,
# max_input_chars_per_word; Hugging Face keeps it). Characters, not bytes: in bytes a Thai or Russian
# word would reach the limit three or two times too early.
MAX_WORD_CHARACTERS = 100
_MAX_BYTES_PER_CHARACTER = 4

# Replacement of a word that is too long, which becomes [UNK]: a vocabulary cannot contain a NUL.
_NO_WORD = "\0\0"

# RE2 classes. Dropped: control (but tab and line ends), format and private-use characters, and U+FFFD.
_DROPPED = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\p{Cf}\p{Co}\x{FFFD}]+"
# Unicode's White_Space beyond ASCII; tf.strings.split splits on ASCII's.
_SPACE = r"[\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]"
# Each of these is a separate word: punctuation, ASCII's symbols, and, by default, ideographs. The ranges of ideographs
# are those of google-research/bert's `_is_chinese_char` in Hugging Face's version, including the gap at U+2B820.
_PUNCTUATION = r"\p{P}$+<=>^`|~"
_IDEOGRAPHS = (
    r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}"
    r"\x{2A700}-\x{2B81F}\x{2B920}-\x{2CEAF}\x{2F800}-\x{2FA1F}"
)
# Letters whose lower-casing depends on the locale or on the position in the word.
_LOWER_FIRST = {"Σ": "σ", "İ": "i\u0307", "Ì": "ì", "Í": "í", "Ĩ": "ĩ", "Į": "į"}

# File beside a vocab.txt with other rules than BERT's: an object of `TextRules`.
RULES_FILE = "text_rules.json"


@dataclasses.dataclass(frozen=True)
class TextRules:
    """Rules for cleaning and splitting texts before WordPiece."""

    lower_case: bool
    """Whether texts are lower-cased (an uncased vocabulary)."""

    strip_accents: bool
    """Whether accents are stripped. BERT's rule: if texts are lower-cased."""

    split_ideographs: bool = True
    """Whether each ideograph is a separate word."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A WordPiece vocabulary, which maps words to ids."""

    wordpiece_model: bytes = dataclasses.field(repr=False)
    """The tokens, compiled for FastWordpieceTokenizer (1.3 MB for 30,522 of them). Compiled here,
    because that class makes a constant from a Python list: 2.5 s per trace."""

    rules: TextRules
    """Rules applied to texts first."""

    cls_id: int
    sep_id: int
    unk_id: int
    """The token of a word that the vocabulary cannot represent."""


def load_vocabulary(vocab_path: str, *, lower_case: bool) -> Vocabulary:
    """Reads a `vocab.txt`: UTF-8, one token a line, the first line is id 0.

    Args:
        vocab_path: path or URI that tf.io.gfile can open. A RULES_FILE beside it is read as well.
        lower_case: True for an uncased vocabulary: texts are lower-cased and, unless RULES_FILE says otherwise,
            stripped of accents.

    Raises:
        ValueError: [CLS], [SEP] or [UNK] is not in the file.
    """
    with tf.io.gfile.GFile(vocab_path, "rb") as file:
        lines = file.read().decode("utf-8").removesuffix("\n").split("\n")
    tokens = [line.removesuffix("\r") for line in lines]
    last = {token: token_id for token_id, token in enumerate(tokens)}
    missing = [token for token in (CLS, SEP, UNK) if token not in last]
    if missing:
        raise ValueError(
            f"vocabulary {vocab_path} has no {', '.join(missing)} among its {len(tokens)} tokens; give the "
            "vocab.txt of a BERT (WordPiece) checkpoint, one token a line"
        )
    # A repeated token has its last id, as in Hugging Face. The first, and an empty line, must match nothing:
    # U+FFFD never survives cleaning.
    unique = [token if token and last[token] == i else f"\ufffd{i}" for i, token in enumerate(tokens)]
    wordpiece_model = wordpiece_builder.build_fast_wordpiece_model(
        unique,
        MAX_WORD_CHARACTERS * _MAX_BYTES_PER_CHARACTER,
        "##",
        UNK,
        True,  # no_pretokenization: split_words has done it
        False,  # support_detokenization
    )
    return Vocabulary(
        wordpiece_model,
        rules=_load_rules(os.path.join(os.path.dirname(vocab_path), RULES_FILE), lower_case=lower_case),
        cls_id=last[CLS],
        sep_id=last[SEP],
        unk_id=last[UNK],
    )


def _load_rules(path: str, *, lower_case: bool) -> TextRules:
    if not tf.io.gfile.exists(path):
        return TextRules(lower_case=lower_case, strip_accents=lower_case)
    with tf.io.gfile.GFile(path) as file:
        return TextRules(**{"strip_accents": lower_case, **json.loads(file.read()), "lower_case": lower_case})


# There is no control flow for autograph to convert, and its attempt costs seconds per trace.
@tf.autograph.experimental.do_not_convert
def encode(
    texts: Sequence[tf.Tensor], *, vocab: Vocabulary, max_seq_length: int
) -> dict[str, tf.RaggedTensor]:
    """Turns texts, or pairs of texts, into the encoder's inputs, without padding.

    Args:
        texts: one or two tensors, string [batch]; bytes that are not UTF-8 are dropped.
        vocab: from `load_vocabulary`.
        max_seq_length: maximum tokens per example, including [CLS] and [SEP].

    Returns:
        ENCODER_INPUTS, each ragged int64 [batch, (length)]:
            input_word_ids: [CLS] a [SEP], or [CLS] a [SEP] b [SEP].
            input_mask: 1 everywhere (padding, added per batch later, is 0).
            input_type_ids: 0 up to the first [SEP], 1 for `b` and its [SEP].

    Raises:
        ValueError: not one or two texts, or max_seq_length leaves no room for a token of each.

    Example, with the tokens [UNK] [CLS] [SEP] good ##ish shoes as ids 0 to 5:
        encode([["Goodish!"], ["shoes"]], ...) gives
        input_word_ids [[1, 3, 4, 0, 2, 5, 2]] and input_type_ids [[0, 0, 0, 0, 0, 1, 1]].
    """
    if len(texts) not in (1, 2):
        raise ValueError(
            f"encode takes one text or a pair, not {len(texts)}; name 1 or 2 columns in data.text"
        )
    num_special = len(texts) + 1  # [CLS], and a [SEP] after each
    if max_seq_length < num_special + len(texts):
        raise ValueError(
            f"text.max_seq_length is {max_seq_length}, which leaves no room for a token of each text; "
            f"give at least {num_special + len(texts)}"
        )
    model = tf.constant(np.frombuffer(vocab.wordpiece_model, np.uint8))
    tokenizer = tf_text.FastWordpieceTokenizer(model_buffer=model, token_out_type=tf.int64)
    segments = [_wordpieces(text, tokenizer, rules=vocab.rules) for text in texts]
    return _pack(segments, _kept_lengths(segments, budget=max_seq_length - num_special), vocab)


def split_words(text: tf.Tensor, *, rules: TextRules) -> tf.RaggedTensor:
    """Cleans texts and splits them at white space, around punctuation and around ideographs.

    Args:
        text: string [batch].
        rules: of lower-casing, accents and ideographs.

    Returns:
        string [batch, (num_words)], UTF-8; e.g. "Café, ok" -> ["cafe", ",", "ok"] lower-cased and without accents.
    """
    # Drop bytes that are not UTF-8 first: RE2 stops at them.
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="ignore")
    text = tf.strings.regex_replace(text, _DROPPED, "")
    text = tf.strings.regex_replace(text, _SPACE, " ")
    if rules.strip_accents:
        text = tf.strings.regex_replace(tf_text.normalize_utf8(text, "NFD"), r"\p{Mn}+", "")
    if rules.lower_case:
        text = _lower(text, has_accents=not rules.strip_accents)
    alone = _PUNCTUATION + (_IDEOGRAPHS if rules.split_ideographs else "")
    return tf.strings.split(tf.strings.regex_replace(text, f"([{alone}])", r" \1 "))


def _lower(text: tf.Tensor, *, has_accents: bool) -> tf.Tensor:
    """Lower-cases character by character, the same on every machine.

    Unicode's lower-casing in TensorFlow looks at neighbours (a last sigma differs) and at the
    process's locale (under LANG=tr_TR an I loses its dot, and a served model its accuracy): such
    letters are replaced before.
    """
    text = tf.strings.lower(text)  # ASCII only
    for capital, small in _LOWER_FIRST.items():
        if has_accents or capital == "Σ":  # without accents there are none of the others
            text = tf.strings.regex_replace(text, capital, small)
    return tf.strings.lower(text, encoding="utf-8")


def _wordpieces(
    text: tf.Tensor, tokenizer: tf_text.FastWordpieceTokenizer, *, rules: TextRules
) -> tf.RaggedTensor:
    """Ids of a batch of texts, without special tokens: int64 [batch, (num_tokens)]."""
    words = split_words(text, rules=rules)
    too_long = tf.strings.length(words.values, unit="UTF8_CHAR") > MAX_WORD_CHARACTERS
    pieces = tokenizer.tokenize(tf.where(too_long, _NO_WORD, words.values))
    return words.with_values(pieces).merge_dims(1, 2)


def _kept_lengths(segments: Sequence[tf.RaggedTensor], *, budget: int) -> list[tf.Tensor]:
    """Number of tokens to keep of each segment, int64 [batch] each, so that all fit into `budget`.

    A pair is truncated as in Hugging Face's `longest_first` (tokenizers, utils/truncation.rs): the
    shorter keeps up to half of the budget, rounded down, and the longer all the rest; of two equally
    long ones the second counts as longer. E.g. lengths 9 and 2 in a budget of 7 become 5 and 2.
    """
    lengths = [segment.row_lengths() for segment in segments]
    if len(segments) == 1:
        return [tf.minimum(lengths[0], budget)]
    a, b = lengths
    short = tf.minimum(tf.minimum(a, b), budget // 2)
    long = tf.minimum(tf.maximum(a, b), budget - short)
    return [tf.where(a > b, long, short), tf.where(a > b, short, long)]


def _pack(
    segments: Sequence[tf.RaggedTensor], kept: Sequence[tf.Tensor], vocab: Vocabulary
) -> dict[str, tf.RaggedTensor]:
    """Joins the heads of segments to [CLS] a [SEP] (b [SEP]), and makes mask and type ids.

    Works on the flat values with core ops: slices and concatenations of ragged tensors would be ten
    times the ops, paid for in every request, and tensorflow_text's trimmers are not in TF Serving's
    tensorflow_text 2.12.
    """
    num_tokens = tf.add_n([*kept, tf.ones_like(kept[0]) * (len(segments) + 1)])
    positions = tf.ragged.range(num_tokens)
    position, row = positions.values, positions.value_rowids()
    word_ids = tf.ones_like(position) * vocab.cls_id
    type_ids = tf.zeros_like(position)
    start = tf.ones_like(kept[0])
    for type_id, (segment, length) in enumerate(zip(segments, kept, strict=True)):
        offset = position - tf.gather(start, row)
        with_sep = tf.concat([segment.values, [vocab.sep_id]], axis=0)
        is_token = (offset >= 0) & (offset < tf.gather(length, row))
        index = tf.where(is_token, tf.gather(segment.row_starts(), row) + offset, segment.row_splits[-1])
        # To the end of the row: the next segment overwrites its own part.
        word_ids = tf.where(offset >= 0, tf.gather(with_sep, index), word_ids)
        type_ids = tf.where(offset >= 0, tf.constant(type_id, tf.int64), type_ids)
        start += length + 1
    return {
        INPUT_WORD_IDS: positions.with_values(word_ids),
        INPUT_MASK: positions.with_values(tf.ones_like(word_ids)),
        INPUT_TYPE_IDS: positions.with_values(type_ids),
    }
