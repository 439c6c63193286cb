"""Reads the tokenizer of a Hugging Face BERT checkpoint: vocab.txt, tokenizer.json, and the settings beside them.

Everything that can change ids is either implemented in `modules/bert_text.py` or refused by file, key and value.
Contradicting files are refused too, because readers differ in which one they follow.
`hf_vocabulary` reads the tokens and checks the rest of tokenizer.json.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_pipeline.encoders import hf_files, hf_vocabulary
from bert_pipeline.encoders.hf_vocabulary import PIPELINE_FILE, VOCAB_FILE
from bert_pipeline.settings.errors import UserError

CONFIG_FILE = "tokenizer_config.json"
NAMES_FILE = "special_tokens_map.json"
ADDED_FILE = "added_tokens.json"
SENTENCE_FILE = "sentence_bert_config.json"
TOKENIZER_FILES = (VOCAB_FILE, PIPELINE_FILE, CONFIG_FILE, NAMES_FILE, ADDED_FILE, SENTENCE_FILE)

# What `bert_text` reads beside a vocab.txt (its RULES_FILE).
RULES_FILE = "text_rules.json"
TEXT_RULES = ("strip_accents", "split_ideographs")

# The role of each special token, and its name here and in Google's vocabularies.
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# Packing needs them; [MASK] is for pretraining only.
_NEEDED = ("pad_token", "unk_token", "cls_token", "sep_token")

# Classes that tokenize like BERT's. Only tokenizer.json describes the last three.
_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
TOKENIZER_CLASSES = ("BertTokenizer", "BertTokenizerFast", *_GENERIC_CLASSES, None)

_MUST_BE: dict[str, tuple[Any, ...]] = {
    "tokenizer_class": TOKENIZER_CLASSES,
    "do_lower_case": (True, False),
    "strip_accents": (True, False, None),
    "tokenize_chinese_chars": (True, False),
    "lowercase": (True, False),
    "do_basic_tokenize": (True,),
    "clean_text": (True,),
    "never_split": (None, []),  # transformers' slow tokenizer heeds it, the fast one does not
    "wordpieces_prefix": ("##",),
    "word_tokenizer_type": (None, "basic"),
    "subword_tokenizer_type": (None, "wordpiece"),
    "do_word_tokenize": (True,),
    "do_subword_tokenize": (True,),
    "mecab_kwargs": (None,),
    "sudachi_kwargs": (None,),
    "jumanpp_kwargs": (None,),
    "add_prefix_space": (False,),
    "add_bos_token": (False,),
    "add_eos_token": (False,),
    "auto_map": (None,),
    "init_inputs": ([],),
    "padding_side": ("right",),
    "truncation_side": ("right",),
    "model_input_names": (  # without type ids, both texts of a pair would have type 0
        ["input_ids", "token_type_ids", "attention_mask"],
        ["input_ids", "attention_mask", "token_type_ids"],
    ),
}
# Arguments of a call, of decoding and of downloads: no text has other ids for them.
_HARMLESS = (
    *("model_max_length", "max_len", "max_length", "truncation_strategy", "stride", "pad_to_multiple_of"),
    *("pad_token_type_id", "clean_up_tokenization_spaces", "split_special_tokens", "chat_template"),
    *("name_or_path", "special_tokens_map_file", "tokenizer_file", "full_tokenizer_file", "vocab_file"),
    *("backend", "is_local", "local_files_only", "use_fast", "from_slow", "processor_class"),
    *("transformers_version", "verbose", "truncation", "padding", "legacy", "trust_remote_code", "revision"),
)
_TOKEN_LISTS = ("additional_special_tokens", "extra_special_tokens")
_OTHER_TOKENS = ("bos_token", "eos_token")
_NAME_KEYS = (*SPECIAL_TOKENS, *_OTHER_TOKENS, *_TOKEN_LISTS)


@dataclasses.dataclass(frozen=True)
class HfTokenizer:
    """The settings of a checkpoint's tokenizer files, in the terms of `bert_text`."""

    tokens: tuple[str, ...]
    """By id, for a vocab.txt with BERT's names for the special tokens. What no text can ever match (a blank
    line, a token that stands again further down, an id without a token) is "\\ufffd" and the id."""

    lower_case: bool
    """Whether text is lower-cased."""

    strip_accents: bool
    """Whether text is stripped of accents; in BERT's own vocabularies where it is lower-cased."""

    split_ideographs: bool
    """Whether each ideograph is a word of its own."""

    notes: tuple[str, ...]
    """Notes for the user, one line each."""

    def write(self, folder: Path) -> None:
        """Writes VOCAB_FILE for `bert_text`, and RULES_FILE if the rules differ from BERT's."""
        text = "".join(f"{token}\n" for token in self.tokens)
        (folder / VOCAB_FILE).write_text(text, encoding="utf-8", newline="")
        rules = {name: getattr(self, name) for name in TEXT_RULES}
        if rules != {"strip_accents": self.lower_case, "split_ideographs": True}:
            (folder / RULES_FILE).write_text(json.dumps(rules) + "\n", encoding="utf-8")


def require_files(folder: Path) -> None:
    """Raises if the folder has no vocabulary."""
    if not (folder / VOCAB_FILE).is_file() and not (folder / PIPELINE_FILE).is_file():
        raise UserError(
            f"encoder.handle: {folder} has no {VOCAB_FILE} and no {PIPELINE_FILE}; save the tokenizer into it too:"
            f" AutoTokenizer.from_pretrained(...).save_pretrained({str(folder)!r})"
        )


def read_tokenizer(folder: Path, *, num_rows: int) -> HfTokenizer:
    """Reads and checks the tokenizer files of a checkpoint.

    Args:
        folder: with vocab.txt or tokenizer.json, or both; other TOKENIZER_FILES are read if present.
        num_rows: of the embedding table.

    Raises:
        UserError: a file is missing or damaged, contradicts another, or needs an unsupported feature.
    """
    require_files(folder)
    config = _read_config(folder)
    path = folder / PIPELINE_FILE
    pipeline = hf_files.read_json(path) if path.is_file() else None
    if pipeline is None and config.get("tokenizer_class") in _GENERIC_CLASSES:
        raise UserError(
            f"{folder / CONFIG_FILE}: tokenizer_class is {hf_files.shown(config['tokenizer_class'])}, whose rules"
            f" stand in {PIPELINE_FILE}, which is not there; save the tokenizer again"
        )
    names = _special_names(folder, config)
    ids, notes = hf_vocabulary.read_vocabulary(folder, pipeline)
    _check_vocabulary(folder, ids, names, num_rows)
    _check_added_tokens(folder, config, pipeline or {}, names, ids)
    if pipeline is not None:
        hf_vocabulary.check_pipeline(path, pipeline, names, ids)
    rules = _read_rules(folder, config, pipeline or {})
    if "do_lower_case" not in config and pipeline is None:
        notes += _note_on_case(folder, [t for t in ids if t not in names.values() and t != t.lower()])
    notes += _note_on_type_ids(config)
    tokens = hf_vocabulary.in_order(ids, {name: SPECIAL_TOKENS[role] for role, name in names.items()})
    if spare := num_rows - len(tokens):
        notes.append(f"{spare} rows of the embedding table have no wordpiece, and are never used")
    return HfTokenizer(tokens, **rules, notes=tuple(notes))


def _note_on_case(folder: Path, capitals: list[str]) -> list[str]:
    if not capitals:
        return []
    return [
        f"nothing in {folder} says whether text is lower-cased, so it is, as by Hugging Face, and {len(capitals)}"
        f" wordpieces with capitals ({capitals[0]!r}) match nothing; for a cased model write"
        f' "do_lower_case": false into {CONFIG_FILE}'
    ]


def _note_on_type_ids(config: dict[str, Any]) -> list[str]:
    kind = config.get("tokenizer_class")
    if kind not in _GENERIC_CLASSES or "model_input_names" in config:
        return []
    return [
        f"the second text of a pair has the type id 1, as {PIPELINE_FILE} says; transformers 5 gives no type ids where"
        f" {CONFIG_FILE} says tokenizer_class {kind} and no model_input_names"
    ]


def _check_vocabulary(folder: Path, ids: dict[str, int], names: dict[str, str], num_rows: int) -> None:
    path = folder / (VOCAB_FILE if (folder / VOCAB_FILE).is_file() else PIPELINE_FILE)
    for role in _NEEDED:
        if names[role] not in ids:
            raise UserError(
                f"{path}: {names[role]} is missing ({role}); it is no BERT vocabulary, or {CONFIG_FILE} names the token"
                f" otherwise"
            )
    if max(ids.values()) >= num_rows:
        raise UserError(
            f"{path}: {max(ids.values()) + 1} wordpieces do not fit the embedding table of {num_rows} rows; take the"
            f" vocabulary and the weights from one checkpoint"
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    config = hf_files.read_json_if_there(path)
    hf_files.require_values(path, config, _MUST_BE)
    hf_files.refuse_unknown_keys(path, config, (*_MUST_BE, *_HARMLESS, *_NAME_KEYS, "added_tokens_decoder"))
    return config


def _special_names(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Role -> name of each special token, from tokenizer_config.json and special_tokens_map.json."""
    names = dict(SPECIAL_TOKENS)
    named: dict[str, Path] = {}
    special_map = hf_files.read_json_if_there(folder / NAMES_FILE)
    hf_files.refuse_unknown_keys(folder / NAMES_FILE, special_map, _NAME_KEYS)
    for path, values in ((folder / CONFIG_FILE, config), (folder / NAMES_FILE, special_map)):
        for role in SPECIAL_TOKENS:
            if role not in values or (values[role] is None and role == "mask_token"):
                continue
            name = _token_name(path, role, values[role])
            if role in named and names[role] != name:
                raise UserError(
                    f"{path}: {role} is {hf_files.shown(name)}, but {named[role].name} says"
                    f" {hf_files.shown(names[role])}; correct the wrong one"
                )
            if len(name) < 2 or not any(unicodedata.category(c)[0] == "P" or c in "$+<=>^`|~" for c in name):
                raise UserError(
                    f"{path}: {role} is {hf_files.shown(name)}, which a text may hold as a word; only names with"
                    f" punctuation, such as {SPECIAL_TOKENS[role]}, can be converted"
                )
            names[role], named[role] = name, path
    if len(set(names.values())) < len(names):
        raise UserError(
            f"{folder / CONFIG_FILE}: two special tokens share a name ({hf_files.shown(names)}); name each once"
        )
    return names


def _token_name(path: Path, key: str, value: Any) -> str:
    """Name of a token that is given as a string or as an AddedToken."""
    name = value.get("content") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{path}: {key} is {hf_files.shown(value)}; it must be a token, as a string or with content"
        )
    return name


def _check_added_tokens(
    folder: Path, config: dict[str, Any], pipeline: dict[str, Any], names: dict[str, str], ids: dict[str, int]
) -> None:
    """Raises on non-special tokens that Hugging Face matches in the text before splitting it."""
    for path, key, name, token_id in _added_tokens(folder, config, pipeline):
        if name not in names.values():
            raise UserError(
                f"{path}: {key} has the token {hf_files.shown(name)}, which Hugging Face looks for in a text"
                f" before it is split into words; that is not done here."
                f" Without the entry it is split like any other text"
            )
        if token_id is not None and token_id != ids.get(name, token_id):
            raise UserError(
                f"{path}: {key} gives {name} the id {hf_files.shown(token_id)}, but the vocabulary {ids[name]};"
                f" take both from one checkpoint"
            )


def _added_tokens(
    folder: Path, config: dict[str, Any], pipeline: dict[str, Any]
) -> Iterator[tuple[Path, str, str, Any]]:
    """File, key, name and id (None if not given) of each token added to the vocabulary."""
    path = folder / CONFIG_FILE
    for token_id, token in _items(path, "added_tokens_decoder", config.get("added_tokens_decoder")):
        name = _token_name(path, "added_tokens_decoder", token)
        yield path, "added_tokens_decoder", name, int(token_id) if token_id.isdecimal() else token_id
    path = folder / ADDED_FILE
    for name, token_id in hf_files.read_json_if_there(path).items():
        yield path, "the file", name, token_id
    path = folder / PIPELINE_FILE
    for _, token in _items(path, "added_tokens", pipeline.get("added_tokens")):
        name = _token_name(path, "added_tokens", token)
        yield path, "added_tokens", name, token.get("id") if isinstance(token, dict) else None
    for path in (folder / CONFIG_FILE, folder / NAMES_FILE):
        values = config if path.name == CONFIG_FILE else hf_files.read_json_if_there(path)
        for key in _TOKEN_LISTS:
            for _, token in _items(path, key, values.get(key)):
                yield path, key, _token_name(path, key, token), None
        for key in _OTHER_TOKENS:
            if values.get(key) is not None:
                yield path, key, _token_name(path, key, values[key]), None


def _items(path: Path, key: str, value: Any) -> list[tuple[str, Any]]:
    """Items of an object, or of a list numbered from 0."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return [(str(i), item) for i, item in enumerate(value)]
    raise UserError(f"{path}: {key} is {hf_files.shown(value)}; it must be a list or an object")


def _read_rules(folder: Path, config: dict[str, Any], pipeline: dict[str, Any]) -> dict[str, bool]:
    """The three rules of `HfTokenizer`; raises if files contradict each other."""
    path, normalizer = folder / CONFIG_FILE, pipeline.get("normalizer") or {}
    generic = config.get("tokenizer_class") in _GENERIC_CLASSES
    rules: dict[str, bool] = {}
    for rule, (key, json_key, default) in _RULES.items():
        value = config.get(key, normalizer.get(json_key, default) if generic else default)
        value = rules["lower_case"] if value is None else value
        other = normalizer.get(json_key, default) if pipeline else value
        other = normalizer["lowercase"] if other is None else other
        if other is not value:
            said = "is" if key in config else "is not there, which means"
            raise UserError(
                f"{path}: {key} {said} {hf_files.shown(value)}, but {PIPELINE_FILE} says {json_key}"
                f" {hf_files.shown(other)}; transformers follows the first, tokenizers the second: write the"
                f" right one into both"
            )
        rules[rule] = value
    hf_files.require_values(path, config, {"lowercase": (rules["lower_case"],)})
    sentence = folder / SENTENCE_FILE  # of sentence-transformers, which may lower-case before the tokenizer
    allowed = {"do_lower_case": (False, None, rules["lower_case"])}
    hf_files.require_values(sentence, hf_files.read_json_if_there(sentence), allowed)
    return rules


# Rule to its key in tokenizer_config.json and in BertNormalizer of tokenizer.json, and its default.
_RULES: dict[str, tuple[str, str, bool | None]] = {
    "lower_case": ("do_lower_case", "lowercase", True),
    "strip_accents": ("strip_accents", "strip_accents", None),  # None: as lower_case
    "split_ideographs": ("tokenize_chinese_chars", "handle_chinese_chars", True),
}
