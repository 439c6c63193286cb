"""Reads values and weights from the files of a Hugging Face checkpoint, and refuses damaged or unknown ones by key.

Format: https://huggingface.co/docs/safetensors; shards: `model.safetensors.index.json`, as `save_pretrained`
writes them above `max_shard_size`.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from bert_pipeline.settings.errors import UserError

# First bytes of a Git LFS pointer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
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
    """Text of a UTF-8 file with unchanged line ends.

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
    """As `read_json`; an empty object if the file does not exist."""
    return read_json(path) if path.is_file() else {}


def shown(value: Any) -> str:
    """Formats a JSON value for a message, at most 80 characters."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= 80 else text[:77] + "..."


def require_values(path: Path, config: Mapping[str, Any], allowed: Mapping[str, Collection[Any]]) -> None:
    """Raises on keys whose value is not in `allowed`; ignores missing keys.

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
    """Raises on unknown keys, which may change the checkpoint's computation."""
    for key, value in config.items():
        if key not in known:
            raise UserError(
                f"{path}: key {key} ({shown(value)}) is not known here and may change what the checkpoint computes;"
                f" remove it where it does not"
            )


def number(path: Path, config: Mapping[str, Any], key: str, *, whole: bool) -> int | float:
    """The number under `key`: finite and at least 0, or an integer of at least 1.

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


WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# Transformers 4 and 5 both save as safetensors.
CONVERSION = (
    "from transformers import AutoModel as M, AutoTokenizer as T;"
    " [c.from_pretrained({source}).save_pretrained({target}) for c in (M, T)]"
)

# Prefixes of tensors that affect the encoder. Heads (`cls.`, `classifier.`, ...) do not.
_ENCODER_PARTS = ("embeddings.", "encoder.", "pooler.")
# Buffers of older versions of transformers, always 0, 1, 2, ... and 0: not weights.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files; prefers a single file to shards, as transformers does.

    Raises:
        UserError: no readable weights, or the index is damaged or names a missing file.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        return [INDEX_FILE, *sorted(set(_weight_map(folder).values()))]
    others = [p.name for pattern in ("*.bin", "*.h5", "*.msgpack") for p in sorted(folder.glob(pattern))]
    weights = next((name for name in others if not name.startswith("training_args")), None)
    if weights is None:
        hint = "copy it too, or save the model again with save_pretrained"
    else:
        code = CONVERSION.format(source=json.dumps(str(folder)), target=json.dumps(f"{folder}-safetensors"))
        hint = (
            f"{weights} is not read (a file of that kind can hold code); convert it where transformers and torch are:"
            f" python -c {shlex.quote(code)}"
        )
    raise UserError(f"encoder.handle: {folder} has no {WEIGHTS_FILE}; {hint}")


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor name to shard."""
    path = folder / INDEX_FILE
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(
            f"{path}: key weight_map is {shown(weight_map)}; it must name tensors and their files"
        )
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(
                f"{path}: tensor {tensor} lies in {shown(name)}; it must be a .safetensors file beside it"
            )
        if not (folder / name).is_file():
            raise UserError(f"{path}: names {name}, which is not there; copy all shards into {folder}")
    return weight_map


def read_weights(
    folder: Path, *, expected: Mapping[str, tuple[int, ...]], pooler: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Reads the tensors of an encoder as float32.

    Args:
        folder: the checkpoint.
        expected: name, without `bert.`, and shape of each required tensor.
        pooler: same for the optional tensors, all or none.

    Raises:
        UserError: a file is damaged; a tensor is missing, has another shape or type, is not finite, stands twice, or
            belongs to an encoder that computes something else.
    """
    raw: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path, stored_name, tensor in _stored_tensors(folder):
        name = _plain_name(stored_name)
        if name in raw:
            raise UserError(
                f"{path}: tensor {name} stands twice, with and without a prefix; save the checkpoint again"
            )
        raw[name] = (path, tensor)
    first = folder / weight_files(folder)[0]
    if any(name.startswith("pooler.") for name in raw):
        expected = {**expected, **pooler}
    for name in raw:
        if name.startswith(_ENCODER_PARTS) and name not in expected and name not in _BUFFERS:
            raise UserError(
                f"{raw[name][0]}: tensor {name} belongs to no BERT of the shape that config.json says; take both"
                f" files from one checkpoint of a plain BERT (without relative positions, adapters,"
                f" cross-attention, layers past num_hidden_layers)"
            )
    for name in expected:
        if name not in raw:
            raise UserError(f"{first}: tensor {name} is missing; the file is no complete BERT checkpoint")
    return {name: _checked(*raw[name], name=name, expected=shape) for name, shape in expected.items()}


def _stored_tensors(folder: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Path of its file, name, and `dtype`, `shape`, `data` of each tensor."""
    names = weight_files(folder)
    where = _weight_map(folder) if names[0] == INDEX_FILE else None
    found: set[str] = set()
    for file_name in names:
        path = folder / file_name
        if file_name == INDEX_FILE:
            continue
        content = read_bytes(path)
        try:
            tensors = safetensors.deserialize(content)  # type: ignore[no-untyped-call] # it has no types
        except safetensors.SafetensorError as error:
            raise UserError(f"{path}: damaged or cut short ({error}); copy or download it again") from error
        for name, tensor in tensors:
            if where is None or where.get(name) == file_name:
                found.add(name)
                yield path, name, tensor
    for name in sorted(set(where or ()) - found):
        raise UserError(
            f"{folder / INDEX_FILE}: tensor {name} is not in {(where or {})[name]}; copy the shards again"
        )


def _plain_name(name: str) -> str:
    """`bert.embeddings.LayerNorm.gamma` (old, or with a task head) -> `embeddings.LayerNorm.weight`."""
    name = name.removeprefix("bert.")
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: _OLD_NAMES[m[1]], name)


_OLD_NAMES = {"gamma": "LayerNorm.weight", "beta": "LayerNorm.bias"}


def _checked(path: Path, tensor: dict[str, Any], *, name: str, expected: tuple[int, ...]) -> np.ndarray:
    """The tensor as float32; checks its shape against config.json and that it is finite."""
    if tuple(tensor["shape"]) != expected:
        raise UserError(
            f"{path}: tensor {name} has shape {list(tensor['shape'])}, but config.json says {list(expected)};"
            f" both files must come from one checkpoint"
        )
    with np.errstate(over="ignore"):  # a float64 too large for float32 is detected below
        value = _to_float32(path, name, tensor).reshape(expected)
    if bad := int(value.size - np.isfinite(value).sum()):
        raise UserError(
            f"{path}: tensor {name} holds {bad} values that are NaN or infinite in float32; the checkpoint cannot"
            f" be used (its training diverged, or the file is damaged)"
        )
    return value


def _to_float32(path: Path, name: str, tensor: dict[str, Any]) -> np.ndarray:
    dtype, data = tensor["dtype"], tensor["data"]
    if dtype in ("F64", "F32", "F16"):
        return np.frombuffer(data, dtype="<f" + str(int(dtype[1:]) // 8)).astype(np.float32)
    if dtype == "BF16":  # the upper half of a float32; numpy has no such type
        return (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    raise UserError(f"{path}: tensor {name} is stored as {dtype}; save the checkpoint as float32 or float16")
