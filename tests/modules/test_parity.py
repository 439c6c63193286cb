"""Parity: the ids equal Hugging Face's BertTokenizerFast, and what differs is exactly what is listed.

The reference is `tokenizers.BertWordPieceTokenizer`, the pipeline that BertTokenizerFast builds
(BertNormalizer, BertPreTokenizer, WordPiece, truncation `longest_first`, the same special tokens).
"""

from __future__ import annotations

import collections
import csv
import hashlib
import json
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

import bert_text
import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

HARD = json.loads((Path(__file__).parents[1] / "data" / "hard_texts.json").read_text(encoding="utf-8"))
TEXT_COLUMNS = ("text", "text_b", "title", "description")
UNCASED_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
# Half of these are pieces of others, so that short random words fall into several pieces or none.
SMALL_VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ab", "abc", "b", "bb", "c", "##a", "##ab", "##b"),
    *(
        "##bc",
        "##cab",
        "##c",
        "cab",
        "A",
        "##B",
        "-",
        ".",
        "鞋",
        "##鞋",
        "é",
        "##é",
        "e",
        "σ",
        "##σ",
        "i",
        "##i",
    ),
)


def write_vocabulary(folder: Path, tokens: Sequence[str]) -> str:
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return str(path)


def hf_encode(
    texts: Sequence[Sequence[str]], *, vocab_path: str, lower_case: bool, max_seq_length: int
) -> list[tuple[list[int], list[int], list[int]]]:
    """Ids, mask and type ids by Hugging Face; `texts` holds one column, or two."""
    tokenizer = BertWordPieceTokenizer(vocab_path, lowercase=lower_case)
    tokenizer.enable_truncation(max_seq_length, strategy="longest_first")
    rows = list(texts[0]) if len(texts) == 1 else list(zip(*texts, strict=True))
    return [(row.ids, row.attention_mask, row.type_ids) for row in tokenizer.encode_batch(rows)]


def our_encode(
    texts: Sequence[Sequence[str | bytes]], *, vocab_path: str, lower_case: bool, max_seq_length: int
) -> list[tuple[list[int], list[int], list[int]]]:
    """The same by `bert_text.encode`."""
    vocab = bert_text.load_vocabulary(vocab_path, lower_case=lower_case)
    columns = [tf.constant(column, tf.string) for column in texts]
    encoded = bert_text.encode(columns, vocab=vocab, max_seq_length=max_seq_length)
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return list(zip(*(encoded[name].to_list() for name in names), strict=True))


def parse_ranges(ranges: Sequence[str]) -> set[int]:
    """["0041-0043", "00E9"] -> {0x41, 0x42, 0x43, 0xE9}."""
    bounds = [[int(bound, 16) for bound in item.split("-")] for item in ranges]
    return {point for bound in bounds for point in range(bound[0], bound[-1] + 1)}


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_hard_texts_have_hugging_faces_ids(tmp_path: Path, lower_case: bool) -> None:
    settings = {"vocab_path": write_vocabulary(tmp_path, HARD["vocabulary"]), "lower_case": lower_case}
    names, texts = list(HARD["texts"]), list(HARD["texts"].values())
    for columns in ([texts], [texts, texts[::-1]]):
        for max_seq_length in (16, 512):
            ours = our_encode(columns, max_seq_length=max_seq_length, **settings)
            theirs = hf_encode(columns, max_seq_length=max_seq_length, **settings)
            assert [n for n, a, b in zip(names, ours, theirs, strict=True) if a != b] == []


def test_invalid_utf8_is_read_as_if_the_bytes_were_not_there(tmp_path: Path) -> None:
    settings = {"vocab_path": write_vocabulary(tmp_path, HARD["vocabulary"]), "lower_case": True}
    raw = [
        text.encode("ascii").decode("unicode_escape").encode("latin-1")
        for text in HARD["invalid_utf8"].values()
    ]
    # Hugging Face takes str only: whoever reads the file with errors="replace" gets U+FFFD, which it drops.
    replaced = [text.decode("utf-8", errors="replace") for text in raw]
    ours = our_encode([raw], max_seq_length=64, **settings)
    assert ours == hf_encode([replaced], max_seq_length=64, **settings)
    assert len(raw) == 7


def test_special_tokens_written_in_a_text_are_the_one_difference_by_choice(tmp_path: Path) -> None:
    """Hugging Face lets a text forge [SEP]; here a text is only ever text."""
    settings = {"vocab_path": write_vocabulary(tmp_path, HARD["vocabulary"]), "lower_case": True}
    texts = list(HARD["special_token_texts"].values())
    ours = our_encode([texts], max_seq_length=64, **settings)
    theirs = hf_encode([texts], max_seq_length=64, **settings)
    assert [a == b for a, b in zip(ours, theirs, strict=True)] == [False] * 5
    spaced = [text.replace("[", "[ ").replace("]", " ]") for text in texts]
    assert ours == hf_encode([spaced], max_seq_length=64, **settings)


def differing_points(*, lower_case: bool, strip_accents: bool, split_ideographs: bool = True) -> set[int]:
    """Code points of planes 0 to 3 and 14, and some of the private planes, that between two letters differ."""
    points = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), *range(0x10FF00, 0x110000)]
    normalizer = BertNormalizer(
        lowercase=lower_case, strip_accents=strip_accents, handle_chinese_chars=split_ideographs
    )
    rules = bert_text.TextRules(lower_case, strip_accents, split_ideographs)
    splitter = BertPreTokenizer()
    texts = [f"a{chr(point)}b" for point in points]
    ours = bert_text.split_words(tf.constant(texts), rules=rules).to_list()
    different = set()
    for point, text, words in zip(points, texts, ours, strict=True):
        expected = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
        if [word.decode("utf-8") for word in words] != expected:
            different.add(point)
    return different


def listed_points(*, lower_case: bool) -> set[int]:
    """The code points that differ by the list, with the installed tensorflow-text."""
    listed = parse_ranges(HARD["unicode_differences"]["cased and uncased"])
    if lower_case:
        listed |= parse_ranges(HARD["unicode_differences"]["uncased only"])
    if lower_case and tf_text.__version__.split(".")[:2] != ["2", "16"]:
        listed |= parse_ranges(HARD["unicode_differences"]["uncased only, with a tensorflow-text after 2.16"])
    return listed


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_exactly_the_listed_characters_are_split_or_normalised_differently(lower_case: bool) -> None:
    different = differing_points(lower_case=lower_case, strip_accents=lower_case)
    assert {f"{point:04X}" for point in different ^ listed_points(lower_case=lower_case)} == set()


def test_each_rule_alone_differs_in_listed_characters_only() -> None:
    """Those listed for uncased vocabularies come of the one rule or of the other; ideographs add none."""
    cased = parse_ranges(HARD["unicode_differences"]["cased and uncased"])
    lowered = differing_points(lower_case=True, strip_accents=False, split_ideographs=False)
    stripped = differing_points(lower_case=False, strip_accents=True, split_ideographs=False)
    assert lowered & stripped == cased
    assert lowered | stripped == listed_points(lower_case=True)


def test_letters_that_the_stacks_decompose_differently_have_one_id_in_a_vocabulary_without_them(
    tmp_path: Path,
) -> None:
    """They are [UNK] whether decomposed or not, as every word is that holds a character the vocabulary lacks."""
    points = parse_ranges(HARD["unicode_differences"]["uncased only, with a tensorflow-text after 2.16"])
    assert len(points) == 21
    settings = {"vocab_path": write_vocabulary(tmp_path, HARD["vocabulary"]), "lower_case": True}
    texts = [f"good a{chr(point)}b shoes" for point in sorted(points)]
    assert our_encode([texts], max_seq_length=64, **settings) == hf_encode(
        [texts], max_seq_length=64, **settings
    )


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_random_texts_have_hugging_faces_ids_at_every_length(tmp_path: Path, lower_case: bool) -> None:
    """Random words over a vocabulary that overlaps with itself, as single texts and pairs."""
    settings = {"vocab_path": write_vocabulary(tmp_path, SMALL_VOCABULARY), "lower_case": lower_case}
    rng = random.Random(5)
    alphabet = "aaabbbcccABC -.鞋éÉ\u0301ΣςIİ\u00ad\t\u3000"
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(40))) for _ in range(400)]
    for max_seq_length in (5, 6, 7, 12, 13, 30, 512):
        for columns in ([texts], [texts, texts[1:] + texts[:1]]):
            ours = our_encode(columns, max_seq_length=max_seq_length, **settings)
            assert ours == hf_encode(columns, max_seq_length=max_seq_length, **settings)


def test_pairs_of_all_lengths_are_cut_as_longest_first_cuts_them(tmp_path: Path) -> None:
    """All pairs of 0 to 12 tokens in every budget from 2 to 24."""
    settings = {"vocab_path": write_vocabulary(tmp_path, SMALL_VOCABULARY), "lower_case": True}
    lengths = [(a, b) for a in range(13) for b in range(13)]
    columns = [["a " * a for a, _ in lengths], ["b " * b for _, b in lengths]]
    for max_seq_length in range(5, 28):
        ours = our_encode(columns, max_seq_length=max_seq_length, **settings)
        assert ours == hf_encode(columns, max_seq_length=max_seq_length, **settings)


def shared_columns() -> dict[str, list[list[str]]]:
    """The text columns of each set of real data, both splits; skips, by name, where there are none."""
    folder = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    paths = sorted(folder.glob("*/*.csv"))
    if not paths:
        pytest.skip(f"PARITY ON REAL DATA WAS NOT CHECKED: no */*.csv under {folder}; set SHARED_DATA")
    columns: dict[str, list[list[str]]] = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in TEXT_COLUMNS if name in rows[0]]
        assert 1 <= len(names) <= 2, f"{path} has text columns {names}"
        columns[f"{path.parent.name}/{path.stem}"] = [[row[name] for row in rows] for name in names]
    return columns


def real_vocabulary() -> str:
    """bert-base-uncased's vocab.txt from the encoder cache; skips, by name, where there is none."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bert_pipeline"
    folder = Path(os.environ.get("BERT_PIPELINE_CACHE", default))
    for path in sorted(folder.rglob("vocab.txt")):
        if hashlib.sha256(path.read_bytes()).hexdigest() == UNCASED_VOCABULARY_SHA256:
            return str(path)
    pytest.skip(
        f"PARITY WITH THE REAL VOCABULARY WAS NOT CHECKED: none under {folder}; "
        "run `make pipeline` once, or set BERT_PIPELINE_CACHE"
    )


def frequent_vocabulary(texts: Sequence[str], *, num_words: int) -> list[str]:
    """A vocabulary for `texts`: special tokens, every character, the most frequent words and beginnings."""
    words = collections.Counter(word for text in texts for word in re.findall(r"\w+", text))
    frequent = [word for word, _ in words.most_common(num_words)]
    characters = sorted({c for text in texts for c in text + text.lower() if c.isprintable() and c != " "})
    pieces = [*frequent, *characters, *(f"##{c}" for c in characters if c.isalnum())]
    pieces += [f"##{word[-3:]}" for word in frequent if len(word) > 5]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)]


def singles_and_pairs(columns: dict[str, list[list[str]]]) -> list[list[list[str]]]:
    """All columns of all sets as one column; and as two, where a set with one column lends the next row's text."""
    pairs = [c if len(c) == 2 else [c[0], c[0][1:] + c[0][:1]] for c in columns.values()]
    return [
        [[text for c in columns.values() for column in c for text in column]],
        [[text for pair in pairs for text in pair[i]] for i in range(2)],
    ]


def num_compared(columns: list[list[str]], *, vocab_path: str, lower_case: bool, max_seq_length: int) -> int:
    """Encodes one column, or a pair of columns, by both in batches of 2,000; the number of rows compared."""
    vocab = bert_text.load_vocabulary(vocab_path, lower_case=lower_case)
    names = ("input_word_ids", "input_mask", "input_type_ids")
    batches = tf.data.Dataset.from_tensor_slices(tuple(columns)).batch(2000)
    encoded = batches.map(lambda *texts: bert_text.encode(texts, vocab=vocab, max_seq_length=max_seq_length))
    for start, batch in zip(range(0, len(columns[0]), 2000), encoded, strict=True):
        rows = [column[start : start + 2000] for column in columns]
        expected = hf_encode(
            rows, vocab_path=vocab_path, lower_case=lower_case, max_seq_length=max_seq_length
        )
        actual = list(zip(*(batch[name].to_list() for name in names), strict=True))
        wrong = [start + i for i, (a, b) in enumerate(zip(actual, expected, strict=True)) if a != b]
        assert wrong == [], [[column[i] for column in columns] for i in wrong[:3]]
    return len(columns[0])


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_a_sample_of_real_texts_has_hugging_faces_ids(tmp_path: Path, lower_case: bool) -> None:
    """Every 40th row of each set, with a vocabulary made from them: needs no download."""
    sample = {name: [column[::40] for column in columns] for name, columns in shared_columns().items()}
    groups = singles_and_pairs(sample)
    vocab_path = write_vocabulary(tmp_path, frequent_vocabulary(groups[0][0], num_words=3000))
    settings = {"vocab_path": vocab_path, "lower_case": lower_case, "max_seq_length": 128}
    assert sum(num_compared(columns, **settings) for columns in groups) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("max_seq_length", [128, 512])
def test_all_real_texts_have_hugging_faces_ids(max_seq_length: int) -> None:
    """Every set, both splits, each text column alone and as pairs, with bert-base-uncased's vocabulary."""
    settings = {"vocab_path": real_vocabulary(), "lower_case": True, "max_seq_length": max_seq_length}
    columns = shared_columns()
    counts = [num_compared(group, **settings) for group in singles_and_pairs(columns)]
    print(
        f"max_seq_length {max_seq_length}: {counts[0]} texts and {counts[1]} pairs equal, of {sorted(columns)}"
    )
    assert len(columns) == 14
