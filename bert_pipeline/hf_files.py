"""The files of a Hugging Face checkpoint as values: what is damaged, or says what is not known, is refused by key.

A checkpoint is accepted because each key of its JSON files is understood. Each reader has a table of keys that must
have certain values and a list of keys that change neither ids nor numbers; any other key is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bert_pipeline.errors import UserError

# First bytes of what git leaves in place of a large file: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises:
        UserError: it cannot be read, is empty, or is a Git LFS pointer.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); copy the checkpoint again") from error
    if content.startswith(_LFS_POINTER):
        raise UserError(
            f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned, or download it"
        )
    if not content:
        raise UserError(f"{path}: is empty; copy or download it again")
    return content


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, line ends as they are.

    Raises:
        UserError: as `read_bytes`; not UTF-8, or with a byte order mark, which Hugging Face would not skip.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} is not UTF-8 (byte {content[error.start]:#04x}); convert the file into UTF-8 (iconv)"
        ) from error
    if text.startswith("\ufeff"):
        raise UserError(
            f"{path}: begins with a byte order mark (U+FEFF), which would be part of its first line; save it as UTF-8"
            f" without one"
        )
    return text


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UserError: as `read_text`; not JSON, or no object.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); copy the file again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__} where an object was expected")
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """As `read_json`; an empty object where there is no such file."""
    return read_json(path) if path.is_file() else {}


def shown(value: Any) -> str:
    """A value of a JSON file for a message, 80 characters at most."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= 80 else text[:77] + "..."


def require_values(path: Path, config: Mapping[str, Any], allowed: Mapping[str, Collection[Any]]) -> None:
    """Refuses keys whose value is none of those that `allowed` lists; a key that is not there is left alone.

    Types count: 0 is not false, and "true" is not true.
    """
    for key, values in allowed.items():
        if key in config and not any(type(config[key]) is type(v) and config[key] == v for v in values):
            names = " or ".join(dict.fromkeys(json.dumps(v) for v in values))
            raise UserError(
                f"{path}: {key} is {shown(config[key])}, but only {names} can be converted; take another checkpoint, or"
                f" correct the file where it is wrong"
            )


def refuse_unknown_keys(path: Path, config: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses a key that no table names: it may change what the checkpoint computes."""
    for key, value in config.items():
        if key not in known:
            raise UserError(
                f"{path}: key {key} ({shown(value)}) is not known here and may change what the checkpoint computes;"
                f" remove it where it does not"
            )


def number(path: Path, config: Mapping[str, Any], key: str, *, whole: bool) -> int | float:
    """The number under `key`, finite and not below 0; at least 1 where it must be whole.

    Raises:
        UserError: a string, true or false, a fraction where a whole number is needed, NaN, or out of range.
    """
    value = config[key]
    fits = type(value) is int or (type(value) is float and not whole and math.isfinite(value))
    if not fits:
        kind = "a whole number" if whole else "a number"
        quoted = " without quotes" if isinstance(value, str) else ""
        raise UserError(f"{path}: {key} is {shown(value)}; write {kind}{quoted}")
    if value < (1 if whole else 0):
        raise UserError(f"{path}: {key} is {value}; it must be {'at least 1' if whole else '0 or more'}")
    return int(value) if whole else float(value)
