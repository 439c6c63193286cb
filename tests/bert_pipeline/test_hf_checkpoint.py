"""Reading a Hugging Face checkpoint: the ways weights are stored, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from bert_pipeline import hf_checkpoint
from bert_pipeline.errors import UserError


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


# What is done to a checkpoint, and what the refusal must name.
DAMAGE = {
    "no vocabulary": (lambda d: (d / "vocab.txt").unlink(), "has no vocab.txt"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "has no model.safetensors"),
    "only torch weights": (
        lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"),
        "pytorch_model.bin is not read",
    ),
    "no config": (lambda d: (d / "config.json").unlink(), "has no config.json"),
    "config no JSON": (lambda d: (d / "config.json").write_text("{"), "config.json: not JSON"),
    "weights cut short": (
        lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:50_000]),
        "model.safetensors: damaged or cut short",
    ),
    "other model": (lambda d: _edit(d, model_type="roberta"), 'model_type is "roberta"'),
    "other activation": (lambda d: _edit(d, hidden_act="silu"), 'hidden_act is "silu"'),
    "relative positions": (
        lambda d: _edit(d, position_embedding_type="relative_key"),
        'position_embedding_type is "relative_key"',
    ),
    "missing key": (lambda d: _edit(d, hidden_size=None), "key hidden_size is missing"),
    "odd heads": (
        lambda d: _edit(d, num_attention_heads=3),
        "hidden_size 32 is no multiple of num_attention_heads 3",
    ),
    "missing tensor": (
        lambda d: _edit(d, num_hidden_layers=3),
        "tensor encoder.layer.2.attention.self.query.weight is missing",
    ),
    "other shape": (
        lambda d: _edit(d, max_position_embeddings=128),
        r"position_embeddings.weight has shape \[64, 32\], but config.json says \[128, 32\]",
    ),
    "vocabulary too large": (
        lambda d: (d / "vocab.txt").write_text((d / "vocab.txt").read_text() + "more\n"),
        "65 wordpieces do not fit the embedding table of 64 rows",
    ),
    "no separator": (
        lambda d: (d / "vocab.txt").write_text((d / "vocab.txt").read_text().replace("[SEP]", "sep")),
        r"vocab.txt: \[SEP\] is missing",
    ),
    "wordpiece twice": (
        lambda d: (d / "vocab.txt").write_text((d / "vocab.txt").read_text().replace("heel", "sole")),
        "wordpiece 'sole' stands twice",
    ),
    "other tokenization": (
        lambda d: (d / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}'),
        "strip_accents is false",
    ),
}


def _edit(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_fit_is_refused_by_name(damage: str, tiny_checkpoint: Path, tmp_path: Path):
    break_it, message = DAMAGE[damage]
    break_it(_copy(tiny_checkpoint, tmp_path / "bert"))
    with pytest.raises(UserError, match=message):
        hf_checkpoint.read_checkpoint(tmp_path / "bert")


@pytest.mark.parametrize("stored", ["old names, prefix", "float16", "bfloat16"])
def test_other_ways_to_store_the_weights(stored, tiny_checkpoint: Path, tmp_path: Path):
    weights = safetensors.numpy.load_file(tiny_checkpoint / "model.safetensors")
    expected = {name: value.copy() for name, value in weights.items()}
    if stored == "old names, prefix":
        renamed = {"bert." + _old_name(name): value for name, value in weights.items()}
        safetensors.numpy.save_file(renamed, tmp_path / "model.safetensors")
    elif stored == "float16":
        halves = {name: value.astype(np.float16) for name, value in weights.items()}
        safetensors.numpy.save_file(halves, tmp_path / "model.safetensors")
    else:
        (tmp_path / "model.safetensors").write_bytes(_as_bfloat16(weights))
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((tiny_checkpoint / name).read_bytes())
    read = hf_checkpoint.read_checkpoint(tmp_path).weights
    tolerance = {"old names, prefix": 0.0, "float16": 1e-3, "bfloat16": 1e-2}[stored]
    assert set(read) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(read[name], value, atol=tolerance, rtol=tolerance)


def _old_name(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _as_bfloat16(weights: dict[str, np.ndarray]) -> bytes:
    """A safetensors file by hand: numpy has no such type, so the library writes none."""
    header, data = {}, b""
    for name, value in weights.items():
        upper = (value.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": value.shape,
            "data_offsets": [len(data), len(data) + len(upper)],
        }
        data += upper
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data
