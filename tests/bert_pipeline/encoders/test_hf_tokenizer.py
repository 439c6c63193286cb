"""Reading a checkpoint's tokenizer: what is accepted gives `tokenizers`' ids, all else is refused by key and value."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bert_text
import pytest
import tensorflow as tf
from tokenizers import BertWordPieceTokenizer, Tokenizer

from bert_pipeline.encoders import hf_tokenizer
from bert_pipeline.settings.errors import UserError

HARD = json.loads((Path(__file__).parents[2] / "data" / "hard_texts.json").read_text(encoding="utf-8"))
TEXTS = list(HARD["texts"].values())
VOCABULARY: list[str] = HARD["vocabulary"]
NUM_ROWS = len(VOCABULARY) + 8
OTHER_NAMES = {"[CLS]": "<s>", "[SEP]": "</s>", "[UNK]": "<unk>", "[PAD]": "<pad>", "[MASK]": "<mask>"}
ROLES = {
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def write_checkpoint(folder: Path, *, lines: str = "", config: dict[str, Any] | None = None) -> Path:
    """vocab.txt and tokenizer_config.json, without a model."""
    text = lines or "".join(f"{token}\n" for token in VOCABULARY)
    (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True} | (config or {})))
    return folder


def write_pipeline(folder: Path, **settings: Any) -> Tokenizer:
    """tokenizer.json in place of vocab.txt, as `save_pretrained` of transformers 5 does."""
    backend = BertWordPieceTokenizer(str(folder / "vocab.txt"), **settings)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def our_ids(folder: Path, *columns: list[str]) -> list[list[int]]:
    """Ids by `bert_text` of what the loader reads from a checkpoint."""
    tokenizer = hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS)
    written = Path(tempfile.mkdtemp(dir=folder))
    tokenizer.write(written)
    vocab = bert_text.load_vocabulary(str(written / "vocab.txt"), lower_case=tokenizer.lower_case)
    texts = [tf.constant(column) for column in columns]
    return bert_text.encode(texts, vocab=vocab, max_seq_length=512)["input_word_ids"].to_list()


def their_ids(tokenizer: Any, *columns: list[str]) -> list[list[int]]:
    """Ids by `tokenizers`."""
    rows = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return [row.ids for row in tokenizer.encode_batch(rows)]


@pytest.mark.parametrize("source", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("split_ideographs", [True, False], ids=["ideographs alone", "ideographs in words"])
@pytest.mark.parametrize(
    "strip_accents", [True, False, None], ids=["no accents", "accents", "accents by case"]
)
@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_each_normalisation_gives_hugging_faces_ids(
    lower_case: bool, strip_accents: bool | None, split_ideographs: bool, source: str, tmp_path: Path
):
    keys = {
        "do_lower_case": lower_case,
        "strip_accents": strip_accents,
        "tokenize_chinese_chars": split_ideographs,
    }
    folder = write_checkpoint(tmp_path, config=keys)
    settings = {
        "lowercase": lower_case,
        "strip_accents": strip_accents,
        "handle_chinese_chars": split_ideographs,
    }
    theirs = BertWordPieceTokenizer(str(folder / "vocab.txt"), **settings)
    if source == "tokenizer.json":
        theirs = write_pipeline(folder, **settings)
    for columns in ([TEXTS], [TEXTS, TEXTS[::-1]]):
        assert our_ids(folder, *columns) == their_ids(theirs, *columns)


def every(n: int, token_end: str) -> str:
    """The vocabulary with `token_end` after each n-th token that is not special."""
    return "".join(f"{t}{token_end if i % n == 0 and i > 5 else ''}\n" for i, t in enumerate(VOCABULARY))


PLAIN = "".join(f"{token}\n" for token in VOCABULARY)
# Lines of a vocab.txt, and a word of the note that is given of it.
VOCABULARIES = {
    "blanks": (every(3, " \t "), "lines end in blanks"),
    "no-break spaces": (every(3, "\u00a0"), "lines end in blanks"),
    "next-line controls": (every(3, "\u0085"), "lines end in blanks"),
    "other spaces": (every(3, "\u3000\u2028"), "lines end in blanks"),
    "file separators, which are no white space": (every(3, "\x1c"), ""),
    "line ends of Windows": (PLAIN.replace("\n", "\r\n"), ""),
    "no line end at the end": (PLAIN.removesuffix("\n"), ""),
    "a blank line in the middle": (PLAIN.replace("\ngood\n", "\n\ngood\n", 1), ""),
    "blank lines at the end": (PLAIN + "\n\n", ""),
    "blank lines past the table": (PLAIN + "\n" * 40, ""),
    "a token twice": (PLAIN + "good\n", "('good' in lines 10 and"),
    "a token twice for its blanks": (PLAIN + "good\u00a0\n", "('good' in lines 10 and"),
    "tokens that no text can match": (PLAIN + "y" * 300 + "\n##\na b\n\0\nx\0y\n##" + "z" * 101 + "\n", ""),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_lines_of_a_vocabulary_are_read_as_by_tokenizers(name: str, tmp_path: Path):
    lines, note = VOCABULARIES[name]
    folder = write_checkpoint(tmp_path, lines=lines)
    assert our_ids(folder, TEXTS) == their_ids(BertWordPieceTokenizer(str(folder / "vocab.txt")), TEXTS)
    notes = "\n".join(hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS).notes)
    assert note in notes


def test_a_blank_of_the_vocabulary_is_no_part_of_its_token(tmp_path: Path):
    folder = write_checkpoint(tmp_path, lines="[PAD]\n[UNK]\n[CLS]\n[SEP]\nshoe\u00a0\n\nsole\nshoe \n")
    tokenizer = hf_tokenizer.read_tokenizer(folder, num_rows=8)
    assert tokenizer.tokens == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "\ufffd4", "\ufffd5", "sole", "shoe")


@pytest.mark.parametrize("where", ["tokenizer_config.json", "special_tokens_map.json", "as objects"])
def test_special_tokens_of_other_names_keep_their_ids(where: str, tmp_path: Path):
    tokens = [OTHER_NAMES.get(token, token) for token in VOCABULARY] + ["[SEP]"]
    folder = write_checkpoint(tmp_path, lines="".join(f"{t}\n" for t in tokens))
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    roles = {k: {"content": v, **flags} for k, v in ROLES.items()} if where == "as objects" else ROLES
    if where == "special_tokens_map.json":
        (folder / where).write_text(json.dumps(roles))
    else:
        write_checkpoint(folder, lines="".join(f"{t}\n" for t in tokens), config=roles)
    theirs = BertWordPieceTokenizer(str(folder / "vocab.txt"), **ROLES)
    # A text that spells a special token is text here, and the token itself there: none of these does.
    assert our_ids(folder, TEXTS) == their_ids(theirs, TEXTS)


def test_settings_that_change_no_id_are_left_alone(tmp_path: Path):
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    added = {str(ids[t]): {"content": t, **flags} for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    saved_by_4 = {"tokenizer_class": "BertTokenizer", "clean_up_tokenization_spaces": True, "never_split": None,
                  "do_basic_tokenize": True, "model_max_length": 10**30, "strip_accents": None,
                  "tokenize_chinese_chars": True, "extra_special_tokens": {},
                  "added_tokens_decoder": added}  # fmt: skip
    saved_by_5 = {"backend": "tokenizers", "is_local": True, "max_length": 8, "local_files_only": True,
                  "tokenizer_class": "TokenizersBackend", "truncation_side": "right"}  # fmt: skip
    folder = write_checkpoint(tmp_path, config=saved_by_4)
    plain = hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS)
    backend = BertWordPieceTokenizer(str(folder / "vocab.txt"))
    backend.enable_truncation(8)
    backend.enable_padding(length=8)
    backend.save(str(folder / "tokenizer.json"))
    assert hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS) == plain
    write_checkpoint(folder, config=saved_by_5)
    (folder / "vocab.txt").unlink()
    generic = hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS)
    assert generic.tokens == plain.tokens == tuple(VOCABULARY)
    assert generic.notes[0].startswith("the second text of a pair has the type id 1, as tokenizer.json says;")


def test_an_id_without_a_token_matches_nothing(tmp_path: Path):
    folder = write_checkpoint(tmp_path)
    write_pipeline(folder)
    edit_pipeline(folder, lambda p: p["model"]["vocab"].pop("good"))
    assert (
        hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS).tokens[VOCABULARY.index("good")] == "\ufffd9"
    )
    assert our_ids(folder, TEXTS) == their_ids(Tokenizer.from_file(str(folder / "tokenizer.json")), TEXTS)


def test_a_cased_vocabulary_of_which_nothing_says_so_is_noted(tmp_path: Path):
    write_checkpoint(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    tokenizer = hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)
    assert tokenizer.lower_case is True
    assert "wordpieces with capitals ('The') match nothing" in "\n".join(tokenizer.notes)


def edit_pipeline(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes tokenizer.json in place."""
    pipeline = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(pipeline)
    (folder / "tokenizer.json").write_text(json.dumps(pipeline), encoding="utf-8")


CONFIG = "tokenizer_config.json: "
# What tokenizer_config.json says, and the refusal.
CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "Japanese words": ({"tokenizer_class": "BertJapaneseTokenizer"}, 'tokenizer_class is "BertJapaneseTokenizer"'),
    "another model's": ({"tokenizer_class": "RobertaTokenizer"}, 'tokenizer_class is "RobertaTokenizer"'),
    "no rules at all": ({"tokenizer_class": "PreTrainedTokenizerFast"}, "whose rules stand in tokenizer.json"),
    "case as a string": ({"do_lower_case": "false"}, 'do_lower_case is "false"'),
    "case as a number": ({"do_lower_case": 0}, "do_lower_case is 0"),
    "case unknown": ({"do_lower_case": None}, "do_lower_case is null"),
    "case twice": ({"lowercase": False}, "lowercase is false"),
    "accents as a string": ({"strip_accents": "no"}, 'strip_accents is "no"'),
    "ideographs as a number": ({"tokenize_chinese_chars": 1}, "tokenize_chinese_chars is 1"),
    "words that stay": ({"never_split": ["[USER]"]}, r'never_split is \["\[USER\]"\]'),
    "no splitting": ({"do_basic_tokenize": False}, "do_basic_tokenize is false"),
    "no cleaning": ({"clean_text": False}, "clean_text is false"),
    "another prefix": ({"wordpieces_prefix": "@@"}, 'wordpieces_prefix is "@@"'),
    "MeCab": ({"word_tokenizer_type": "mecab"}, 'word_tokenizer_type is "mecab"'),
    "MeCab's dictionary": ({"mecab_kwargs": {"mecab_dic": "ipadic"}}, "mecab_kwargs is"),
    "characters": ({"subword_tokenizer_type": "character"}, 'subword_tokenizer_type is "character"'),
    "cut at the left": ({"truncation_side": "left"}, 'truncation_side is "left"'),
    "padded at the left": ({"padding_side": "left"}, 'padding_side is "left"'),
    "no type ids": ({"model_input_names": ["input_ids", "attention_mask"]}, "model_input_names is"),
    "code of its own": ({"auto_map": {"AutoTokenizer": ["t.T", None]}}, "auto_map is"),
    "unknown key": ({"normalization": True}, r"key normalization \(true\) is not known here"),
    "added token": ({"added_tokens_decoder": {"9": {"content": "<url>"}}}, 'decoder has the token "<url>"'),
    "special token elsewhere": (
        {"added_tokens_decoder": {"7": {"content": "[CLS]"}}},
        r"added_tokens_decoder gives \[CLS\] the id 7, but the vocabulary 3",
    ),
    "added tokens as a number": ({"added_tokens_decoder": 3}, "added_tokens_decoder is 3; it must be a list or an"),
    "added token without a text": ({"added_tokens_decoder": {"9": {}}}, "added_tokens_decoder is {}; it must be"),
    "special tokens": ({"additional_special_tokens": ["[E1]"]}, r'additional_special_tokens has the token "\[E1'),
    "special tokens, by 5": ({"extra_special_tokens": {"e": "[E1]"}}, r'extra_special_tokens has the token "\[E1'),
    "another end": ({"eos_token": "[EOS]"}, r'eos_token has the token "\[EOS\]"'),
    "a name that is missing": ({"cls_token": "<s>"}, r"vocab.txt: <s> is missing \(cls_token\)"),
    "no name": ({"sep_token": None}, "sep_token is null; it must be a token"),
    "one name for two": ({"sep_token": "[CLS]"}, "two special tokens share a name"),
    "a name that is a word": ({"cls_token": "good"}, 'cls_token is "good", which a text may hold as a word'),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_what_tokenizer_config_may_not_say(name: str, tmp_path: Path):
    config, message = CONFIGS[name]
    write_checkpoint(tmp_path, config=config)
    with pytest.raises(UserError, match=message):
        hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)


NFKC = {"type": "NFKC"}
# What is done to a tokenizer.json, and the refusal.
PIPELINES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "NFKC": (lambda p: p.update(normalizer=NFKC), "normalizer is NFKC, but only BertNormalizer"),
    "NFKC first": (
        lambda p: p.update(normalizer={"type": "Sequence", "normalizers": [NFKC, p["normalizer"]]}),
        r"normalizer is Sequence \(NFKC, BertNormalizer\), but only BertNormalizer",
    ),
    "a replacement": (
        lambda p: p.update(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "b"}),
        "normalizer is Replace",
    ),
    "no normalizer": (lambda p: p.update(normalizer=None), "normalizer is null"),
    "case unknown": (lambda p: p["normalizer"].pop("lowercase"), "normalizer has no lowercase"),
    "case as a string": (lambda p: p["normalizer"].update(lowercase="true"), 'lowercase is "true"'),
    "no cleaning": (lambda p: p["normalizer"].update(clean_text=False), "clean_text is false"),
    "other case than the other file": (
        lambda p: p["normalizer"].update(lowercase=False),
        "tokenizer_config.json: do_lower_case is true, but tokenizer.json says lowercase false",
    ),
    "other accents than the other file": (
        lambda p: p["normalizer"].update(strip_accents=False),
        "strip_accents is not there, which means true, but tokenizer.json says strip_accents false",
    ),
    "white space": (lambda p: p.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer is Whitespace"),
    "digits": (
        lambda p: p.update(
            pre_tokenizer={"type": "Sequence", "pretokenizers": [p["pre_tokenizer"], {"type": "Digits"}]}
        ),
        r"pre_tokenizer is Sequence \(BertPreTokenizer, Digits\)",
    ),
    "no packing": (lambda p: p.update(post_processor=None), "post_processor is null and packs otherwise"),
    "RoBERTa's packing": (
        lambda p: p.update(post_processor=p["post_processor"] | {"type": "RobertaProcessing"}),
        "post_processor is RobertaProcessing and packs otherwise",
    ),
    "other ids": (lambda p: p["post_processor"].update(cls=["[CLS]", 9]), "post_processor is BertProcessing and packs"),
    "cut at the left": (
        lambda p: p.update(truncation={"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}),
        "truncation is at the Left",
    ),
    "byte pairs": (lambda p: p["model"].update(type="BPE"), 'type is "BPE"'),
    "another prefix": (lambda p: p["model"].update(continuing_subword_prefix=""), 'continuing_subword_prefix is ""'),
    "longer words": (lambda p: p["model"].update(max_input_chars_per_word=200), "max_input_chars_per_word is 200"),
    "another unknown": (lambda p: p["model"].update(unk_token="[PAD]"), r'unk_token is "\[PAD\]"'),
    "no vocabulary": (lambda p: p["model"].pop("vocab"), "holds no WordPiece model with a vocabulary"),
    "no model": (lambda p: p.pop("model"), "holds no WordPiece model with a vocabulary"),
    "half a character": (lambda p: p["model"]["vocab"].update({"\ud800": 523}), "vocab holds half a surrogate pair"),
    "an id as a string": (lambda p: p["model"]["vocab"].update(good="9"), "token 'good' has the id \"9\""),
    "one id for two": (lambda p: p["model"]["vocab"].update(zz=9), "tokens 'good' and 'zz' share the id 9"),
    "an id past the table": (lambda p: p["model"]["vocab"].update(zz=10**12), "do not fit the embedding table"),
    "added token": (
        lambda p: p["added_tokens"].append({"id": 9, "content": "good", "special": False}),
        'tokenizer.json: added_tokens has the token "good"',
    ),
    "unknown part": (lambda p: p.update(cleaner={"type": "Html"}), "key cleaner .* is not known here"),
    "another version": (lambda p: p.update(version="2.0"), 'version is "2.0"'),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
def test_what_tokenizer_json_may_not_say(name: str, tmp_path: Path):
    change, message = PIPELINES[name]
    write_pipeline(write_checkpoint(tmp_path))
    edit_pipeline(tmp_path, change)
    with pytest.raises(UserError, match=message):
        hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)


# Name and content of a file that is put beside vocab.txt, or in its place, and the refusal.
FILES: dict[str, tuple[str, bytes, str]] = {
    "added token": ("added_tokens.json", b'{"<url>": 523}', 'added_tokens.json: the file has the token "<url>"'),
    "other names": ("special_tokens_map.json", b'{"cls_token": "<s>"}', r"<s> is missing \(cls_token\)"),
    "more names": ("special_tokens_map.json", b'{"additional_special_tokens": ["[E1]"]}', r'has the token "\[E1\]"'),
    "unknown name": ("special_tokens_map.json", b'{"user_token": "[USER]"}', "key user_token"),
    "sentences in lower case": ("sentence_bert_config.json", b'{"do_lower_case": 1}', "do_lower_case is 1"),
    "no JSON": ("tokenizer_config.json", b"do_lower_case: true", "tokenizer_config.json: not JSON"),
    "empty tokenizer.json": ("tokenizer.json", b"{}", "holds no WordPiece model"),
    "a byte order mark": ("vocab.txt", b"\xef\xbb\xbf[PAD]\n[UNK]\n", "vocab.txt: begins with a byte order mark"),
    "UTF-16": ("vocab.txt", "[PAD]\n[UNK]\n".encode("utf-16"), "vocab.txt: line 1 is not UTF-8"),
    "Latin-1": ("vocab.txt", "[PAD]\n\ncaf\u00e9\n".encode("latin-1"), r"vocab.txt: line 3 is not UTF-8 \(byte 0xe9\)"),
    "old Macintosh line ends": ("vocab.txt", b"[PAD]\r[UNK]\r[CLS]\r[SEP]\r", "line 1 holds a carriage return"),
    "empty": ("vocab.txt", b"", "vocab.txt: is empty"),
    "only blank lines": ("vocab.txt", b"\n\n\n", r"vocab.txt: \[PAD\] is missing"),
    "a Git LFS pointer": ("vocab.txt", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "no separator": ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\ngood\n", r"vocab.txt: \[SEP\] is missing \(sep_token\)"),
    "too many": ("vocab.txt", (PLAIN + "".join(f"x{i}\n" for i in range(9))).encode(), "do not fit the embedding"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_that_do_not_fit_are_refused_by_name(name: str, tmp_path: Path):
    file_name, content, message = FILES[name]
    write_checkpoint(tmp_path)
    (tmp_path / file_name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)


def test_an_empty_vocabulary_in_tokenizer_json_is_refused(tmp_path: Path):
    write_pipeline(write_checkpoint(tmp_path))
    edit_pipeline(tmp_path, lambda p: p["model"].update(vocab={}))
    with pytest.raises(UserError, match=r"tokenizer.json: \[PAD\] is missing"):
        hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)
    write_checkpoint(tmp_path)
    with pytest.raises(
        UserError, match=r"vocab.txt: token '\[PAD\]' has the id 0 here .* and none in tokenizer.json"
    ):
        hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)


# Put in place of each value of each file: a checkpoint is then accepted, or refused by our own error.
ODD_VALUES = [None, True, 0, -1, 1.5, 1e400, "", "32", [], {}, [None], {"a": 1}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value inside a JSON value, of a list or object to the first six."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items)[:6]:
        yield from places(item, (*path, key))


def test_no_value_of_any_type_ends_in_another_error(tmp_path: Path):
    folder = write_checkpoint(
        tmp_path, config=ROLES | {"cls_token": "[CLS]", "extra_special_tokens": ["[SEP]"]}
    )
    write_pipeline(folder)
    (folder / "special_tokens_map.json").write_text(
        '{"cls_token": {"content": "[CLS]"}, "eos_token": "[SEP]"}'
    )
    (folder / "added_tokens.json").write_text('{"[CLS]": 3}')
    num_tried = 0
    for file in sorted(folder.glob("*.json")):
        original = file.read_text(encoding="utf-8")
        for path in places(json.loads(original)):
            for odd in ODD_VALUES:
                changed = {"": json.loads(original)}
                inner: Any = changed
                for key in ("", *path)[:-1]:
                    inner = inner[key]
                inner[("", *path)[-1]] = odd
                file.write_text(json.dumps(changed[""]), encoding="utf-8")
                num_tried += 1
                with contextlib.suppress(UserError):
                    hf_tokenizer.read_tokenizer(folder, num_rows=NUM_ROWS)
        file.write_text(original, encoding="utf-8")
    assert num_tried > 500


def test_two_vocabularies_that_differ_are_refused_with_the_token(tmp_path: Path):
    write_pipeline(write_checkpoint(tmp_path))
    write_checkpoint(tmp_path, lines=PLAIN.replace("\ngood\n", "\n\ngood\n", 1))
    message = r"vocab.txt: token 'good' has the id 10 here .* and 9 in tokenizer.json; .* delete vocab.txt"
    with pytest.raises(UserError, match=message):
        hf_tokenizer.read_tokenizer(tmp_path, num_rows=NUM_ROWS)
