"""Reads the vocabulary, and checks that tokenizer.json tokenizes like BERT.

Format: https://huggingface.co/docs/tokenizers/api/tokenizer (what `Tokenizer.to_str` gives).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_pipeline.encoders import hf_files
from bert_pipeline.settings.errors import UserError

VOCAB_FILE = "vocab.txt"
PIPELINE_FILE = "tokenizer.json"

# As Rust's `trim_end`: Unicode's White_Space. Python's rstrip() would take U+001C to U+001F as well.
_TRIMMED = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# A word has at most 100 characters, else it is [UNK] (`bert_text.MAX_WORD_CHARACTERS`); "##" comes before.
_MAX_TOKEN_CHARACTERS = 102


def read_vocabulary(folder: Path, pipeline: dict[str, Any] | None) -> tuple[dict[str, int], list[str]]:
    """Reads vocab.txt, tokenizer.json, or both.

    Args:
        folder: the checkpoint.
        pipeline: content of its tokenizer.json; None if missing.

    Returns:
        Token to id, and notes for the user, one line each.

    Raises:
        UserError: damaged, not BERT's WordPiece, or the two files differ.
    """
    stated = None if pipeline is None else _read_model(folder / PIPELINE_FILE, pipeline.get("model"))
    path = folder / VOCAB_FILE
    if stated is not None and not path.is_file():
        return stated, []
    lines = hf_files.read_text(path).removesuffix("\n").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    for i, line in enumerate(lines):
        if "\r" in line:
            raise UserError(
                f"{path}: line {i + 1} holds a carriage return, where some readers end a line and others do not; write"
                f" the file with line feeds alone"
            )
    trimmed = [line.rstrip(_TRIMMED) for line in lines]
    ids = {token: i for i, token in enumerate(trimmed) if token}
    # transformers 4 makes a tokenizer.json with the blanks left in; no text can match such a token.
    untrimmed = {token: i for i, token in enumerate(lines) if token}
    if stated is not None and stated not in (ids, untrimmed):
        raise UserError(
            f"{path}: {_difference(ids, stated)}; transformers reads the second: delete {VOCAB_FILE} where it is right"
        )
    notes = []
    if stated is None and (blanks := sum(a != b for a, b in zip(lines, trimmed, strict=True))):
        notes.append(
            f"{path}: {blanks} lines end in blanks, which are trimmed as by transformers 5 (4 keeps them, and such a"
            f" token matches nothing)"
        )
    if doubled := [i for i, token in enumerate(trimmed) if token and ids[token] != i]:
        token = trimmed[doubled[0]]
        notes.append(
            f"{path}: lines with a token that stands again further down: {len(doubled)} ({token!r} in lines"
            f" {doubled[0] + 1} and {ids[token] + 1}); the last holds, as in Hugging Face"
        )
    return ids if stated is None else stated, notes


def _difference(ids: dict[str, int], stated: dict[str, int]) -> str:
    """The first token whose id differs between the files."""
    token = next(t for t in (*ids, *stated) if ids.get(t) != stated.get(t))
    here, there = (str(found.get(token, "none")) for found in (ids, stated))
    return f"token {token!r} has the id {here} here (its line, from 0) and {there} in {PIPELINE_FILE}"


def _read_model(path: Path, model: Any) -> dict[str, int]:
    """Token to id of the part `model` of tokenizer.json."""
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise UserError(f"{path}: holds no WordPiece model with a vocabulary; save the tokenizer again")
    rules = {"type": ("WordPiece",), "continuing_subword_prefix": ("##",), "max_input_chars_per_word": (100,)}
    hf_files.require_values(path, model, rules)
    hf_files.refuse_unknown_keys(path, model, (*rules, "unk_token", "vocab"))
    if missing := [key for key in rules if key not in model and key != "type"]:
        raise UserError(f"{path}: model has no {missing[0]}; it is no WordPiece model")
    try:
        "".join(model["vocab"]).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}: vocab holds half a surrogate pair ({error}); save the tokenizer again"
        ) from error
    tokens: dict[int, str] = {}
    for token, token_id in model["vocab"].items():
        if type(token_id) is not int or token_id < 0:
            raise UserError(
                f"{path}: token {token!r} has the id {hf_files.shown(token_id)}; it must be a number from 0"
            )
        if token_id in tokens:
            raise UserError(f"{path}: tokens {tokens[token_id]!r} and {token!r} share the id {token_id}")
        tokens[token_id] = token
    return {token: token_id for token_id, token in tokens.items() if token}


def in_order(ids: dict[str, int], special: Mapping[str, str]) -> tuple[str, ...]:
    """The tokens by id, as lines of a vocab.txt that `bert_text` reads.

    Args:
        ids: token to id.
        special: name of a special token in `ids` to its name in `bert_text`.

    Returns:
        What no text can match stands as U+FFFD, which never survives cleaning, and its id: an id without a token,
        a token longer than a word may be, or with a character that is cleaned away and that a line cannot hold.
    """
    tokens = [f"\ufffd{i}" for i in range(max(ids.values()) + 1)]
    for token, token_id in ids.items():
        if token in special:
            tokens[token_id] = special[token]
        elif (
            token not in special.values()  # of two [CLS] the named one
            and len(token) <= _MAX_TOKEN_CHARACTERS
            and not any(c in token for c in "\0\n\r")
        ):
            tokens[token_id] = token
    return tuple(tokens)


def check_pipeline(path: Path, pipeline: dict[str, Any], names: dict[str, str], ids: dict[str, int]) -> None:
    """Raises on a tokenizer.json that differs from BERT's.

    Args:
        path: of the file, for messages.
        pipeline: its content; its vocabulary and added tokens are checked elsewhere.
        names: role (`cls_token`, ...) to name of each special token.
        ids: token to id.

    Raises:
        UserError: a part differs from BERT's, or has an unknown key or value.
    """
    known = (
        "version",
        "truncation",
        "padding",
        "added_tokens",
        "normalizer",
        "pre_tokenizer",
        "post_processor",
    )
    hf_files.refuse_unknown_keys(path, pipeline, (*known, "decoder", "model"))
    hf_files.require_values(path, pipeline, {"version": ("1.0",)})
    for key, only in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        part = pipeline.get(key)
        if not isinstance(part, dict) or part.get("type") != only:
            raise UserError(
                f"{path}: {key} is {_kinds(part)}, but only {only} can be converted; take another checkpoint"
            )
    normalizer = pipeline["normalizer"]
    flags = {"clean_text": (True,), "handle_chinese_chars": (True, False), "lowercase": (True, False)}
    hf_files.require_values(path, normalizer, {**flags, "strip_accents": (True, False, None)})
    hf_files.refuse_unknown_keys(path, normalizer, ("type", "strip_accents", *flags))
    if missing := [key for key in flags if key not in normalizer]:
        raise UserError(f"{path}: normalizer has no {missing[0]}; save the tokenizer again")
    hf_files.refuse_unknown_keys(path, pipeline["pre_tokenizer"], ("type",))
    for key in ("truncation", "padding"):  # arguments of the last call; only the side matters
        value = pipeline.get(key)
        if isinstance(value, dict) and value.get("direction", "Right") != "Right":
            raise UserError(f"{path}: {key} is at the {value['direction']}; only the right can be converted")
    hf_files.require_values(path, pipeline["model"], {"unk_token": (names["unk_token"],)})
    if pipeline.get("post_processor") not in _packings(names, ids):
        raise UserError(
            f"{path}: post_processor is {_kinds(pipeline.get('post_processor'))} and packs otherwise than"
            f" {names['cls_token']} a {names['sep_token']} b {names['sep_token']} with type ids 0 and 1; take another"
            f" checkpoint, or save the tokenizer again"
        )


def _kinds(part: Any) -> str:
    """Type of a part of tokenizer.json, with those inside it, for a message."""
    if not isinstance(part, dict):
        return hf_files.shown(part)
    inner = part.get("normalizers") or part.get("pretokenizers") or part.get("processors") or []
    kinds = ", ".join(str(p.get("type")) for p in inner if isinstance(p, dict))
    return f"{part.get('type')} ({kinds})" if kinds else str(part.get("type"))


def _packings(names: dict[str, str], ids: dict[str, int]) -> tuple[dict[str, Any], ...]:
    """The post-processors of tokenizer.json that pack like BERT."""
    cls, sep = names["cls_token"], names["sep_token"]

    def special(name: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(cls, 0), text("A", 0), special(sep, 0)]
    template = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), special(sep, 1)],
        "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in (cls, sep)},
    }
    return template, {"type": "BertProcessing", "sep": [sep, ids[sep]], "cls": [cls, ids[cls]]}
