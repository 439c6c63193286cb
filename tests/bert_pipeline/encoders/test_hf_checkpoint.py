"""Reading a Hugging Face checkpoint: the ways weights are stored, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from bert_pipeline.encoders import hf_checkpoint
from bert_pipeline.settings.errors import UserError


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


# What is done to a checkpoint, and what the refusal must name.
DAMAGE = {
    "no vocabulary": (lambda d: (d / "vocab.txt").unlink(), "has no vocab.txt and no tokenizer.json"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "has no model.safetensors"),
    "only torch weights": (
        lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"),
        r"pytorch_model.bin is not read .* python -c '.*/bert.*/bert-safetensors.*'$",
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
    "number as a string": (
        lambda d: _edit(d, hidden_size="32"),
        'hidden_size is "32"; write a whole number without quotes',
    ),
    "epsilon as a string": (
        lambda d: _edit(d, layer_norm_eps="1e-12"),
        'layer_norm_eps is "1e-12"; write a number without quotes',
    ),
    "epsilon that is no number": (
        lambda d: _edit(d, layer_norm_eps=float("nan")),
        "layer_norm_eps is NaN; write a number",
    ),
    "number as true": (
        lambda d: _edit(d, num_hidden_layers=True),
        "num_hidden_layers is true; write a whole number",
    ),
    "half a layer": (
        lambda d: _edit(d, num_hidden_layers=1.5),
        "num_hidden_layers is 1.5; write a whole number",
    ),
    "no layer": (lambda d: _edit(d, num_hidden_layers=0), "num_hidden_layers is 0; it must be at least 1"),
    "endless layers": (
        lambda d: _edit(d, num_hidden_layers=10**12),
        "num_hidden_layers is 1000000000000; at most 1000",
    ),
    "endless vocabulary": (
        lambda d: _edit(d, vocab_size=10**12),
        r"but config.json says \[1000000000000, 32\]",
    ),
    "negative epsilon": (
        lambda d: _edit(d, layer_norm_eps=-1.0),
        "layer_norm_eps is -1.0; it must be 0 or more",
    ),
    "all dropped": (
        lambda d: _edit(d, hidden_dropout_prob=1.0),
        "hidden_dropout_prob is 1.0; it must be below 1",
    ),
    "one type": (lambda d: _edit(d, type_vocab_size=1), "type_vocab_size is 1; a pair of texts needs 2"),
    "decoder": (lambda d: _edit(d, is_decoder=True), "is_decoder is true"),
    "decoder, as a number": (lambda d: _edit(d, is_decoder=1), "is_decoder is 1"),
    "cross-attention": (lambda d: _edit(d, add_cross_attention=True), "add_cross_attention is true"),
    "pruned heads": (lambda d: _edit(d, pruned_heads={"0": [1]}), r'pruned_heads is \{"0": \[1\]\}'),
    "quantized": (
        lambda d: _edit(d, quantization_config={"bits": 4}),
        r'quantization_config is \{"bits": 4\}',
    ),
    "stored as int8": (lambda d: _edit(d, dtype="int8"), 'dtype is "int8"'),
    "code of its own": (lambda d: _edit(d, auto_map={"AutoModel": "m.M"}), "auto_map is"),
    "Japanese words": (
        lambda d: _edit(d, tokenizer_class="BertJapaneseTokenizer"),
        'config.json: tokenizer_class is "BertJapaneseTokenizer"',
    ),
    "unknown key": (lambda d: _edit(d, rope_theta=1e4), r"key rope_theta \(10000.0\) is not known here"),
    "config with a byte order mark": (
        lambda d: (d / "config.json").write_bytes(b"\xef\xbb\xbf" + (d / "config.json").read_bytes()),
        "config.json: begins with a byte order mark",
    ),
    "config in UTF-16": (
        lambda d: (d / "config.json").write_text((d / "config.json").read_text(), encoding="utf-16"),
        "config.json: line 1 is not UTF-8",
    ),
    "config empty": (lambda d: (d / "config.json").write_bytes(b""), "config.json: is empty"),
    "config a list": (lambda d: (d / "config.json").write_text("[]"), "config.json: holds a list"),
    "config a folder": (lambda d: _as_folder(d / "config.json"), "has no config.json"),
    "weights a Git LFS pointer": (
        lambda d: (d / "model.safetensors").write_bytes(LFS_POINTER),
        "model.safetensors: is a Git LFS pointer, not the file itself; run `git lfs pull`",
    ),
    "not a number": (
        lambda d: _change(d, "pooler.dense.bias", lambda w: w * np.nan),
        "tensor pooler.dense.bias holds 32 values that are NaN or infinite",
    ),
    "infinite in float32": (
        lambda d: _change(d, "embeddings.LayerNorm.bias", lambda w: w.astype(np.float64) * 1e300),
        "tensor embeddings.LayerNorm.bias holds 32 values that are NaN or infinite",
    ),
    "integers": (
        lambda d: _change(d, "pooler.dense.bias", lambda w: w.astype(np.int8)),
        "tensor pooler.dense.bias is stored as I8",
    ),
    "half a pooler": (
        lambda d: _change(d, "pooler.dense.weight", None),
        "tensor pooler.dense.weight is missing",
    ),
    "relative positions in the weights": (
        lambda d: _change(
            d,
            "encoder.layer.0.attention.self.distance_embedding.weight",
            np.zeros_like,
            of="pooler.dense.bias",
        ),
        "distance_embedding.weight belongs to no BERT of the shape",
    ),
    "more layers than config.json says": (
        lambda d: _edit(d, num_hidden_layers=1),
        "tensor encoder.layer.1.[a-zA-Z.]+ belongs to no BERT of the shape",
    ),
    "a tensor twice": (
        lambda d: _change(d, "bert.pooler.dense.bias", np.zeros_like, of="pooler.dense.bias"),
        "tensor pooler.dense.bias stands twice",
    ),
}
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 93432\n"


def _change(
    folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray] | None, *, of: str = ""
) -> None:
    """Puts what `change` makes of tensor `of` (by default itself) in place of tensor `name`; None removes it."""
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    if change is None:
        del weights[name]
    else:
        weights[name] = change(weights[of or name])
    safetensors.numpy.save_file(weights, folder / "model.safetensors")


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


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


def _shard(folder: Path, *, num_shards: int = 3) -> None:
    """Splits model.safetensors as `save_pretrained(max_shard_size=...)` does."""
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for i in range(num_shards):
        file_name = f"model-{i + 1:05}-of-{num_shards:05}.safetensors"
        part = {name: weights[name] for name in sorted(weights)[i::num_shards]}
        safetensors.numpy.save_file(part, folder / file_name)
        weight_map |= dict.fromkeys(part, file_name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_read_as_one_file(tiny_checkpoint: Path, tmp_path: Path):
    folder = _copy(tiny_checkpoint, tmp_path / "bert")
    whole = hf_checkpoint.read_checkpoint(folder).weights
    _shard(folder)
    read = hf_checkpoint.read_checkpoint(folder).weights
    assert set(read) == set(whole)
    assert all(np.array_equal(read[name], value) for name, value in whole.items())
    assert hf_checkpoint.checkpoint_files(folder) == [
        "config.json",
        "model.safetensors.index.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "vocab.txt",
        "tokenizer_config.json",
    ]


SHARD = "model-00002-of-00003.safetensors"
SHARD_DAMAGE = {
    "one missing": (lambda d: (d / SHARD).unlink(), f"index.json: names {SHARD}, which is not there"),
    "one a Git LFS pointer": (
        lambda d: (d / SHARD).write_bytes(LFS_POINTER),
        f"{SHARD}: is a Git LFS pointer",
    ),
    "one of another checkpoint": (
        lambda d: (d / SHARD).write_bytes((d / SHARD.replace("00002", "00001")).read_bytes()),
        f"index.json: tensor [a-zA-Z0-9._]+ is not in {SHARD}",
    ),
    "outside the folder": (
        lambda d: _reindex(d, {"embeddings.LayerNorm.bias": "../model.safetensors"}),
        'tensor embeddings.LayerNorm.bias lies in "../model.safetensors"; it must be a .safetensors file beside it',
    ),
    "no map": (lambda d: _reindex(d, None), "key weight_map is null"),
    "a list": (lambda d: (d / "model.safetensors.index.json").write_text("[]"), "holds a list"),
}


def _reindex(folder: Path, weight_map: dict[str, str] | None) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_damaged_shards_are_refused_by_name(damage: str, tiny_checkpoint: Path, tmp_path: Path):
    break_it, message = SHARD_DAMAGE[damage]
    folder = _copy(tiny_checkpoint, tmp_path / "bert")
    _shard(folder)
    break_it(folder)
    with pytest.raises(UserError, match=message):
        hf_checkpoint.read_checkpoint(folder)


def test_heads_and_buffers_are_left_alone(tiny_checkpoint: Path, tmp_path: Path):
    folder = _copy(tiny_checkpoint, tmp_path / "bert")
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    weights = {f"bert.{name}": value for name, value in weights.items()}
    weights["bert.embeddings.position_ids"] = np.arange(64, dtype=np.int64)[None]
    weights["cls.predictions.bias"] = np.full(64, np.nan, np.float32)
    weights["classifier.weight"] = np.zeros((2, 32), np.int8)
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    _edit(
        folder,
        architectures=["BertForMaskedLM"],
        torch_dtype="float16",
        id2label={"0": "bad"},
        gradient_checkpointing=False,
    )
    assert len(hf_checkpoint.read_checkpoint(folder).weights) == 39


def test_spare_rows_of_the_embedding_table_are_noted(tiny_checkpoint: Path, tmp_path: Path):
    folder = _copy(tiny_checkpoint, tmp_path / "bert")
    _change(
        folder,
        "embeddings.word_embeddings.weight",
        lambda w: np.concatenate([w, np.zeros((1000, 32), np.float32)]),
    )
    _edit(folder, vocab_size=1064)
    checkpoint = hf_checkpoint.read_checkpoint(folder)
    assert checkpoint.weights["embeddings.word_embeddings.weight"].shape == (1064, 32)
    assert checkpoint.tokenizer.notes == (
        "1000 rows of the embedding table have no wordpiece, and are never used",
    )
