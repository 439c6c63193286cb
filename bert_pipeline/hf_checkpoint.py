"""Reads a Hugging Face BERT checkpoint folder, and refuses by name what is no such thing.

No TensorFlow here: a checkpoint that does not fit is refused before the slow imports.
File formats: https://huggingface.co/docs/transformers/model_doc/bert (config.json, names of the
tensors), https://huggingface.co/docs/safetensors (model.safetensors).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from bert_pipeline.errors import UserError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
VOCAB_FILE = "vocab.txt"
TOKENIZER_FILE = "tokenizer_config.json"
REQUIRED_FILES = (CONFIG_FILE, WEIGHTS_FILE, VOCAB_FILE)
ALL_FILES = (*REQUIRED_FILES, TOKENIZER_FILE)

# Counts changes of what a conversion makes of these files; part of the cache key of a conversion.
CONVERTER_VERSION = 2

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")

# Special tokens that packing needs; [MASK] is for pretraining only.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

# Tables are often padded with unused rows up to a multiple of a power of two, 128 at most. A table
# with more rows to spare belongs to another vocabulary.
MAX_SPARE_ROWS = 127


@dataclasses.dataclass(frozen=True)
class BertShape:
    """What config.json says that the graph needs; the names are config.json's."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1


@dataclasses.dataclass(frozen=True)
class HfCheckpoint:
    """A checked checkpoint in memory.

    `weights` maps Hugging Face's names without `bert.` (`embeddings.word_embeddings.weight`) to
    float32 arrays; kernels are [out, in], as torch stores them. `has_pooler`: the two
    `pooler.dense` tensors are among them.
    """

    shape: BertShape
    weights: dict[str, np.ndarray]
    vocab_path: Path
    lower_case: bool
    has_pooler: bool


def read_checkpoint(folder: Path) -> HfCheckpoint:
    """Reads and checks a folder with config.json, model.safetensors, vocab.txt.

    Args:
        folder: the checkpoint; tokenizer_config.json is read where it is there.

    Raises:
        UserError: a file is missing or damaged, or does not fit the others, or is no BERT.
    """
    require_files(folder)
    shape = read_shape(folder / CONFIG_FILE)
    weights = _read_weights(folder / WEIGHTS_FILE)
    has_pooler = "pooler.dense.weight" in weights
    _check_weights(weights, shape, folder / WEIGHTS_FILE, has_pooler=has_pooler)
    _check_vocabulary(folder / VOCAB_FILE, num_rows=shape.vocab_size)
    return HfCheckpoint(shape, weights, folder / VOCAB_FILE, read_lower_case(folder), has_pooler)


def require_files(folder: Path) -> None:
    """Refuses a folder that lacks one of REQUIRED_FILES."""
    for name in REQUIRED_FILES:
        if (folder / name).is_file():
            continue
        hint = f"a Hugging Face checkpoint folder holds {', '.join(REQUIRED_FILES)}"
        if name == WEIGHTS_FILE and (folder / "model.safetensors.index.json").exists():
            hint = "sharded weights are not read; save it again with save_pretrained(max_shard_size='10GB')"
        elif name == WEIGHTS_FILE and (folder / "pytorch_model.bin").exists():
            hint = (
                "pytorch_model.bin is not read; save it again with save_pretrained(safe_serialization=True)"
            )
        raise UserError(f"encoder.handle: {folder} has no {name}; {hint}")


def read_shape(path: Path) -> BertShape:
    """Reads config.json; refuses what is no BERT with absolute positions.

    Raises:
        UserError: not JSON, a key missing, or a value that the graph does not compute.
    """
    config = _read_json(path)
    _require_value(path, config, "model_type", ("bert",), default=None)
    _require_value(path, config, "hidden_act", ACTIVATIONS, default="gelu")
    _require_value(path, config, "position_embedding_type", ("absolute",), default="absolute")
    _require_value(path, config, "is_decoder", (False,), default=False)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(BertShape):
        if field.name in config:
            values[field.name] = config[field.name]
        elif field.default is dataclasses.MISSING:
            raise UserError(f"{path}: key {field.name} is missing; it is no complete BERT configuration")
    shape = BertShape(**values)
    if shape.hidden_size % shape.num_attention_heads:
        raise UserError(
            f"{path}: hidden_size {shape.hidden_size} is no multiple of"
            f" num_attention_heads {shape.num_attention_heads}"
        )
    return shape


def _require_value(
    path: Path, config: dict[str, Any], key: str, allowed: tuple[Any, ...], *, default: Any
) -> None:
    value = config.get(key, default)
    if value not in allowed:
        names = " or ".join(json.dumps(a) for a in allowed)
        raise UserError(f"{path}: {key} is {json.dumps(value)}, but only {names} can be converted")


def read_lower_case(folder: Path) -> bool:
    """Whether the tokenizer lower-cases (and strips accents): do_lower_case, true where nothing is said.

    Raises:
        UserError: the file asks for a tokenization that `bert_text` does not do.
    """
    path = folder / TOKENIZER_FILE
    config = _read_json(path) if path.is_file() else {}
    lower_case = bool(config.get("do_lower_case", True))
    _require_value(path, config, "strip_accents", (None, lower_case), default=None)
    _require_value(path, config, "tokenize_chinese_chars", (True,), default=True)
    return lower_case


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); copy the file again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__} where an object was expected")
    return value


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = dict(safetensors.deserialize(path.read_bytes()))  # type: ignore[no-untyped-call] # it has no types
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: damaged or cut short ({error}); copy or download it again") from error
    return {_plain_name(name): _to_float32(path, name, tensor) for name, tensor in tensors.items()}


def _plain_name(name: str) -> str:
    """`bert.embeddings.LayerNorm.gamma` (old, or with a task head) -> `embeddings.LayerNorm.weight`."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _to_float32(path: Path, name: str, tensor: dict[str, Any]) -> np.ndarray:
    dtype, shape, data = tensor["dtype"], tensor["shape"], tensor["data"]
    if dtype in ("F64", "F32", "F16"):
        return np.frombuffer(data, dtype="<f" + str(int(dtype[1:]) // 8)).astype(np.float32).reshape(shape)
    if dtype == "BF16":  # the upper half of a float32; numpy has no such type
        upper = np.frombuffer(data, dtype="<u2").astype(np.uint32)
        return (upper << 16).view(np.float32).reshape(shape)
    if dtype == "I64":  # embeddings.position_ids of older checkpoints: a buffer, no weight
        return np.frombuffer(data, dtype="<i8").astype(np.float32).reshape(shape)
    raise UserError(f"{path}: tensor {name} is stored as {dtype}; save the checkpoint as float32 or float16")


def expected_shapes(shape: BertShape, *, has_pooler: bool) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a BERT of this shape, as torch stores them."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    expected: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (shape.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (shape.max_position_embeddings, hidden),
        "embeddings.token_type_embeddings.weight": (shape.type_vocab_size, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    dense = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
    }
    for layer in range(shape.num_hidden_layers):
        prefix = f"encoder.layer.{layer}."
        for name, kernel in dense.items():
            expected[f"{prefix}{name}.weight"], expected[f"{prefix}{name}.bias"] = kernel, kernel[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            expected[f"{prefix}{name}.weight"] = expected[f"{prefix}{name}.bias"] = (hidden,)
    if has_pooler:
        expected["pooler.dense.weight"], expected["pooler.dense.bias"] = (hidden, hidden), (hidden,)
    return expected


def _check_weights(weights: dict[str, np.ndarray], shape: BertShape, path: Path, *, has_pooler: bool) -> None:
    for name, expected in expected_shapes(shape, has_pooler=has_pooler).items():
        if name not in weights:
            raise UserError(f"{path}: tensor {name} is missing; the file is no complete BERT checkpoint")
        if weights[name].shape != expected:
            raise UserError(
                f"{path}: tensor {name} has shape {list(weights[name].shape)}, but config.json says"
                f" {list(expected)}; both files must come from one checkpoint"
            )


def _check_vocabulary(path: Path, *, num_rows: int) -> None:
    # Split at \n alone, as Hugging Face's reader does: a wordpiece may be another line separator.
    pieces = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if not num_rows - MAX_SPARE_ROWS <= len(pieces) <= num_rows:
        raise UserError(
            f"{path}: {len(pieces)} wordpieces do not fit the embedding table of {num_rows} rows;"
            f" take {VOCAB_FILE} and {WEIGHTS_FILE} from one checkpoint"
        )
    for token in SPECIAL_TOKENS:
        if token not in pieces:
            raise UserError(f"{path}: {token} is missing; it is no BERT vocabulary")
    if len(set(pieces)) != len(pieces):
        twice = next(p for i, p in enumerate(pieces) if p in pieces[:i])
        raise UserError(f"{path}: wordpiece {twice!r} stands twice; each must have one id")
