"""What a tokenizer.json does to a text beside WordPiece: it must be what BERT's tokenizer does.

Format: https://huggingface.co/docs/tokenizers/api/tokenizer (what `Tokenizer.to_str` gives).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bert_pipeline import hf_files
from bert_pipeline.errors import UserError


def check_pipeline(path: Path, pipeline: dict[str, Any], names: dict[str, str], ids: dict[str, int]) -> None:
    """Refuses a tokenizer.json that does something else than BERT's.

    Args:
        path: of the file, for messages.
        pipeline: its content; its vocabulary and added tokens are checked elsewhere.
        names: role (`cls_token`, ...) to name of each special token.
        ids: token to id.

    Raises:
        UserError: a part is another than BERT's, or has a key or a value that is not known.
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
    for key in ("truncation", "padding"):  # how it was called last, but for the side
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
    """The post-processors that pack as BERT does, as tokenizer.json has them."""
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
