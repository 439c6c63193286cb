"""Whether TensorFlow sees a GPU here, and why not."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bert_pipeline.setup.doctor_report import OK, WARN, Finding

_ASK_TENSORFLOW = """
import tensorflow as tf
print("built", tf.test.is_built_with_cuda(), "seen", len(tf.config.list_physical_devices("GPU")))
"""
# What TensorFlow logs on the way to finding none.
_REASON = re.compile(
    r"^.*(?:Cannot dlopen|failed call to cuInit|Could not find cuda drivers).*$", re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class GpuFacts:
    """What was seen on the way from the hardware to TensorFlow."""

    names: tuple[str, ...]
    """What nvidia-smi lists; empty where it is missing or fails."""

    device: bool
    """Whether the system shows an NVIDIA device, driver or not."""

    libcuda: bool
    """Whether the driver's library libcuda.so.1 can be loaded."""

    extra: bool
    """Whether the CUDA libraries of the extra `gpu` are installed."""

    built_with_cuda: bool
    seen_by_tensorflow: int
    reason: str
    """TensorFlow's own words where it saw none."""


def check_gpu(facts: GpuFacts) -> Finding:
    """Follows a GPU from the hardware up, and names the first step that is missing."""
    name = ", ".join(facts.names) or "NVIDIA GPU"
    if facts.seen_by_tensorflow:
        return Finding(OK, "GPU", f"TensorFlow sees {facts.seen_by_tensorflow}: {name}")
    if not facts.names and not facts.device and not facts.libcuda:
        return Finding(OK, "GPU", "none on this machine: runs use the CPU")
    if not facts.libcuda:
        fix = "install NVIDIA's driver (in a container: docker run --gpus all, nvidia-container-toolkit)"
        return Finding(WARN, "GPU", f"{name}, but libcuda.so.1 of the driver cannot be loaded", fix)
    if not facts.built_with_cuda:
        return Finding(WARN, "GPU", f"{name}, but this TensorFlow is built without CUDA", "make clean setup")
    if not facts.extra:
        fix = "make setup EXTRAS=gpu"
        return Finding(WARN, "GPU", f"{name}, but the CUDA libraries are not installed", fix)
    why = f" ({facts.reason})" if facts.reason else ""
    fix = "see that nvidia-smi works and that CUDA_VISIBLE_DEVICES hides nothing; TensorFlow 2.16 needs driver 525 on"
    return Finding(WARN, "GPU", f"{name}, but TensorFlow does not see it{why}", fix)


def gpu_facts(installed: Mapping[str, str]) -> GpuFacts:
    """Looks at this machine; TensorFlow is asked in a process of its own (some seconds).

    Args:
        installed: package name to version.
    """
    smi = shutil.which("nvidia-smi")
    names = output([smi, "--query-gpu=name", "--format=csv,noheader"], timeout_seconds=20) if smi else ""
    device = (
        Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia").exists() or Path("/dev/dxg").exists()
    )
    libcuda = _loads("libcuda.so.1")
    answer, log = "", ""
    if names or device or libcuda:
        answer, log = _ask_tensorflow()
    match = re.search(r"built (\w+) seen (\d+)", answer)
    reason = _REASON.search(log)
    return GpuFacts(
        names=tuple(names.splitlines()),
        device=device,
        libcuda=libcuda,
        extra="nvidia-cudnn-cu12" in installed,
        built_with_cuda=match is not None and match[1] == "True",
        seen_by_tensorflow=int(match[2]) if match else 0,
        reason=reason[0].split("] ")[-1] if reason else "",
    )


def output(command: list[str], *, timeout_seconds: float) -> str:
    """What a command prints; empty where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _ask_tensorflow() -> tuple[str, str]:
    command = [sys.executable, "-c", _ASK_TENSORFLOW]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}  # its reasons are informative messages
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return "", "TensorFlow did not start within 120 s"
    return done.stdout, done.stderr
