"""Getting an encoder: what is downloaded, what is cached, and what is refused, by name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import bert_text
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from bert_task import EncoderConfig

from bert_pipeline.encoders import encoder_cache, resolve
from bert_pipeline.running import steps
from bert_pipeline.settings.errors import UserError


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.npz", "*.py")))


def _resolve(handle: object, cache_dir: Path, **settings: str) -> resolve.Encoder:
    config = EncoderConfig(handle=str(handle), **settings)
    return resolve.resolve_encoder(config, cache_dir=cache_dir, base_dir=cache_dir)


def _run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_encoder_says_what_its_checkpoint_says(tiny_encoder: resolve.Encoder, tiny_checkpoint: Path):
    assert tiny_encoder.lower_case is True
    assert tiny_encoder.max_seq_length == 64
    assert Path(tiny_encoder.vocab_path).read_bytes() == (tiny_checkpoint / "vocab.txt").read_bytes()
    assert tiny_encoder.source == str(tiny_checkpoint)


def test_cased_checkpoint_keeps_case(tiny_checkpoint: Path, tmp_path: Path):
    folder = _copy(tiny_checkpoint, tmp_path / "cased")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert _resolve("cased", tmp_path).lower_case is False


def test_rules_of_the_tokenizer_come_with_the_vocabulary(tiny_checkpoint: Path, tmp_path: Path):
    folder = _copy(tiny_checkpoint, tmp_path / "german")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')
    encoder = _resolve("german", tmp_path)
    _copy(Path(encoder.path), tmp_path / "module")
    for vocab_path in (encoder.vocab_path, _resolve("module", tmp_path).vocab_path):
        vocab = bert_text.load_vocabulary(vocab_path, lower_case=encoder.lower_case)
        assert vocab.rules == bert_text.TextRules(lower_case=True, strip_accents=False)


def test_notes_on_a_checkpoint_are_said_when_it_is_converted_and_kept_for_each_run(
    tiny_checkpoint: Path, tmp_path: Path
):
    folder = _copy(tiny_checkpoint, tmp_path / "bert")
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "good\n")
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    words = weights["embeddings.word_embeddings.weight"]
    weights["embeddings.word_embeddings.weight"] = np.concatenate([words, words])
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 128}
    (folder / "config.json").write_text(json.dumps(config))
    said: list[str] = []
    resolve.resolve_encoder(
        EncoderConfig(handle="bert"), cache_dir=tmp_path, base_dir=tmp_path, progress=said.append
    )
    assert said == [
        f"encoder bert: {folder}/vocab.txt: lines with a token that stands again further down: 1 ('good' in lines"
        " 52 and 65); the last holds, as in Hugging Face",
        "encoder bert: 63 rows of the embedding table have no wordpiece, and are never used",
        "encoder bert: converting into a SavedModel (real_tokens)",
    ]
    said.clear()
    cached = resolve.resolve_encoder(
        EncoderConfig(handle="bert"), cache_dir=tmp_path, base_dir=tmp_path, progress=said.append
    )
    assert said == []
    spare = "63 rows of the embedding table have no wordpiece, and are never used"
    assert (len(cached.notes), cached.notes[1]) == (2, spare)
    assert steps.notes_of("", "a note", encoder=cached)[::2] == ("a note", f"encoder bert: {spare}")
    [record] = tmp_path.glob("encoders/*/" + resolve.RECORD_FILE)
    values = json.loads(record.read_text())
    del values["notes"]
    record.write_text(json.dumps(values))
    before = resolve.resolve_encoder(EncoderConfig(handle="bert"), cache_dir=tmp_path, base_dir=tmp_path)
    assert before.notes == ()  # a conversion that was made before there were notes in its record


def test_texts_longer_than_the_positions_are_refused(tiny_encoder: resolve.Encoder):
    resolve.check_max_seq_length(64, encoder=tiny_encoder)
    with pytest.raises(UserError, match=r"text.max_seq_length = 65: .* for 64 tokens"):
        resolve.check_max_seq_length(65, encoder=tiny_encoder)


def test_default_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BERT_PIPELINE_CACHE", "/a/b")
    assert resolve.default_cache_dir() == Path("/a/b")
    monkeypatch.delenv("BERT_PIPELINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert resolve.default_cache_dir() == Path("/x/bert_pipeline")


CACHED = """
import sys
from pathlib import Path
from bert_task import EncoderConfig
from bert_pipeline.encoders import resolve
config = EncoderConfig(handle=sys.argv[1])
print(resolve.resolve_encoder(config, cache_dir=Path(sys.argv[2]), base_dir=Path("/")).path)
assert "tensorflow" not in sys.modules
"""


def test_cached_conversion_is_used_without_tensorflow(tiny_encoder: resolve.Encoder, tiny_checkpoint: Path):
    cache_dir = Path(tiny_encoder.path).parents[2]
    done = _run_python(CACHED, tiny_checkpoint, cache_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == tiny_encoder.path


def test_each_computation_has_its_own_conversion(tiny_encoder: resolve.Encoder, tiny_checkpoint: Path):
    padded = _resolve(tiny_checkpoint, Path(tiny_encoder.path).parents[2], computation="padded")
    assert padded.sha256 == tiny_encoder.sha256
    assert padded.path != tiny_encoder.path


def test_a_checkpoint_without_pooler_is_for_mean_pooling(tiny_checkpoint: Path, tmp_path: Path):
    folder = _copy(tiny_checkpoint, tmp_path / "bert")
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler")}
    safetensors.numpy.save_file(kept, folder / "model.safetensors")
    with pytest.raises(UserError, match='bert has no pooler .*; set encoder.pooling = "mean"'):
        _resolve("bert", tmp_path)
    assert _resolve("bert", tmp_path, pooling="mean").max_seq_length == 64


def test_an_unknown_handle_is_told_what_there_is(tmp_path: Path):
    with pytest.raises(UserError, match=r'encoder.handle = "all-MiniLM": .* all-MiniLM-L6-v2'):
        _resolve("all-MiniLM", tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from bert_pipeline.encoders import encoder_cache
def build(folder):
    (folder / "half").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)
encoder_cache.publish(Path(sys.argv[1]), build)
"""


def test_a_kill_leaves_nothing_half_made(tmp_path: Path):
    entry = tmp_path / "cache" / "entry"
    assert _run_python(KILLED, entry).returncode == -signal.SIGKILL
    assert not entry.exists()
    encoder_cache.publish(entry, lambda folder: (folder / "whole").touch())
    assert [p.name for p in entry.iterdir()] == ["whole"]
    assert sorted(p.name for p in entry.parent.iterdir()) == [".entry.lock", "entry"]


BUILDER = """
import sys, time
from pathlib import Path
from bert_pipeline.encoders import encoder_cache
entry = Path(sys.argv[1])
def build(folder):
    time.sleep(0.5)
    (folder / "whole").touch()
    print("built")
encoder_cache.publish(entry, build)
assert (entry / "whole").exists()
"""


def test_of_two_processes_one_builds(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "entry")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(outputs) == ["", "built\n"]


def test_a_saved_model_folder_is_used_where_it_lies(tiny_encoder: resolve.Encoder, tmp_path: Path):
    folder = _copy(Path(tiny_encoder.path), tmp_path / "module")
    encoder = _resolve("module", tmp_path)
    assert encoder.path == str(folder)
    assert encoder.vocab_path == str(folder / "assets" / "vocab.txt")
    assert encoder.lower_case is True
    assert encoder.max_seq_length == 64
    assert encoder.source == "module"
    with open(folder / "assets" / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("more\n")
    with pytest.raises(UserError, match="65 wordpieces, which do not fit the embedding table of 64 rows"):
        _resolve("module", tmp_path)
    (folder / "assets" / "text_rules.json").write_text('{"strip_accents": "no"}')
    with pytest.raises(UserError, match='text_rules.json: strip_accents is "no"'):
        _resolve("module", tmp_path)
    (folder / "assets" / "text_rules.json").unlink()
    (folder / "assets" / "vocab.txt").write_bytes(b"[UNK]\n[CLS]\nsep\n")
    with pytest.raises(UserError, match=r"vocab.txt has no \[SEP\]; it is no vocabulary of a BERT"):
        _resolve("module", tmp_path)
    (folder / "assets" / "vocab.txt").write_bytes(b"[UNK]\n\xe9\n")
    with pytest.raises(UserError, match="vocab.txt: line 2 is not UTF-8"):
        _resolve("module", tmp_path)
    (folder / "assets" / "vocab.txt").unlink()
    with pytest.raises(UserError, match="vocab.txt is missing"):
        _resolve("module", tmp_path)
    _copy(Path(tiny_encoder.path), tmp_path / "cut")
    (tmp_path / "cut" / "variables" / "variables.data-00000-of-00001").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"variables cannot be read \("):
        _resolve("cut", tmp_path)
    (folder / "saved_model.pb").write_bytes(b"\x0a\xff\xff")
    with pytest.raises(UserError, match="saved_model.pb is damaged"):
        _resolve("module", tmp_path)
    (folder / "saved_model.pb").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 1\n")
    with pytest.raises(UserError, match="saved_model.pb: is a Git LFS pointer"):
        _resolve("module", tmp_path)


def test_a_saved_model_that_is_no_text_encoder_is_refused(tmp_path: Path):
    root = tf.train.Checkpoint(weight=tf.Variable(1.0))
    tf.saved_model.save(root, str(tmp_path / "other"))
    with pytest.raises(UserError, match="no text encoder .* it lacks __call__, vocab_file, do_lower_case"):
        _resolve("other", tmp_path)


def test_a_hub_handle_is_taken_from_its_cache_and_else_needs_the_network(
    tiny_encoder: resolve.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    handle = "https://localhost:1/google/tiny_bert/1"  # nobody listens there
    with pytest.raises(UserError, match=r"could not download it .* check the network"):
        _resolve(handle, tmp_path)
    cached = tmp_path / "hub" / hashlib.sha1(handle.encode()).hexdigest()
    _copy(Path(tiny_encoder.path), cached)
    encoder = _resolve(handle, tmp_path)
    assert encoder.path == str(cached)
    assert encoder.source == handle
