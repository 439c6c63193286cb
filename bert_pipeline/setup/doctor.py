"""`make doctor`: reports problems of this machine and their fixes.

`examine` gathers facts; each `check_*` function judges the facts that it gets. This module imports neither TensorFlow
nor any other package of the lock, because it must run in a broken set-up.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_pipeline.setup import bootstrap

OK, WARN, BAD = "OK", "WARN", "BAD"

GIB = 1 << 30
# .venv takes 4 GiB; a run of the sample with its artifacts and checkpoints about 1 GiB more.
DISK_NEEDED, DISK_WANTED = 2 * GIB, 8 * GIB
# TensorFlow, TFX and Beam in one process take 2 GiB before any data.
MEMORY_NEEDED, MEMORY_WANTED = 4 * GIB, 8 * GIB
# These must share their first two numbers: tensorflow-text is compiled against one TensorFlow, tf-keras reads its
# private parts. (tensorflow-serving-api is only protocol buffers, and TFX pins it.)
TENSORFLOW_FAMILY = ("tensorflow", "tensorflow-text", "tf-keras")
PORTS = {8500: "GRPC_PORT", 8501: "REST_PORT"}
_ASK_TENSORFLOW = """
import tensorflow as tf
print("built", tf.test.is_built_with_cuda(), "seen", len(tf.config.list_physical_devices("GPU")))
"""
# What TensorFlow logs on the way to finding none.
_REASON = re.compile(
    r"^.*(?:Cannot dlopen|failed call to cuInit|Could not find cuda drivers).*$", re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check."""

    level: str
    """`OK`; `WARN`: something is slower or missing; `BAD`: the project does not run."""

    subject: str
    state: str
    """The state that was found."""

    fix: str = ""
    """The fix; empty if not needed."""


def print_report(findings: Iterable[Finding]) -> int:
    """Prints findings as they arrive; returns 1 if one is `BAD`, else 0.

    BAD   Python       3.11 at /usr/bin/python3, not 3.10
                        fix: make clean setup
    """
    bad = 0
    for finding in findings:
        print(f"{finding.level:<5} {finding.subject:<12} {finding.state}", flush=True)
        if finding.fix:
            print(f"{'':<18}  fix: {finding.fix}", flush=True)
        bad += finding.level == BAD
    print(f"\n{bad} to fix before anything runs" if bad else "\nnothing keeps the project from running")
    return 1 if bad else 0


def main() -> int:
    """Prints every finding; returns 1 if one keeps the project from running, else 0."""
    return print_report(examine(Path(__file__).resolve().parents[2]))


def examine(root: Path) -> Iterator[Finding]:
    """Checks this machine.

    Args:
        root: folder of the project.
    """
    record = bootstrap.read_record(root)
    yield check_platform(bootstrap.fitting_names())
    yield check_stack(record, fitting=bootstrap.fitting_names())
    yield check_python(sys.version_info[:2], wanted=record.get("python", ""), executable=sys.executable)
    yield check_environment(os.environ)
    installed = {
        re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in importlib.metadata.distributions()
    }
    locked = bootstrap.requirements(root, extras=bootstrap.wanted_extras(root, extras=[]))
    yield check_lock(installed, locked=locked_versions(locked))
    yield check_family(installed)
    yield check_disk(shutil.disk_usage(root).free, path=root)
    yield check_memory(memory_bytes())
    yield check_gpu(gpu_facts(installed))
    yield check_docker(*docker_engine())
    for port in PORTS:
        yield check_port(port, free=is_free(port))
    yield from _encoder_cache()


def check_platform(fitting: Sequence[str]) -> Finding:
    """Whether one of `bootstrap.STACKS` has wheels for this machine; `fitting` names them."""
    state = bootstrap.this_machine()
    if fitting:
        return Finding(OK, "platform", f"{state}: runs {' and '.join('TFX ' + name for name in fitting)}")
    if platform.system() == "Windows":
        return Finding(BAD, "platform", f"{state}: TFX does not support it", "use WSL2 (Ubuntu on x86_64)")
    lacks = "; ".join(f"{stack} needs {bootstrap.what_lacks(stack)}" for stack in bootstrap.STACKS)
    fix = "use Linux x86_64 with glibc, or a container of it (docker run --platform linux/amd64 ...)"
    return Finding(BAD, "platform", f"{state}: {lacks}", fix)


def check_stack(record: Mapping[str, Any], *, fitting: Sequence[str]) -> Finding:
    """The stack of .venv, the reason, and how to change it; `record` is the set-up's."""
    newest, name = bootstrap.STACKS[0], record.get("stack", "")
    if name not in fitting:
        state = f"TFX {name}, which does not run on this machine" if name else "the set-up did not finish"
        return Finding(BAD, "stack", state, "make setup")
    if name == newest.name:
        others = " or ".join(f"make setup STACK={other}" for other in fitting[1:])
        return Finding(
            OK, "stack", f"TFX {name}, the newest" + (f" ({others} for an older one)" if others else "")
        )
    if newest.name not in fitting:
        return Finding(
            OK,
            "stack",
            f"TFX {name}, the newest that runs here ({newest} needs {bootstrap.what_lacks(newest)})",
        )
    if record.get("asked"):
        fix = f"{newest} runs here as well: make setup STACK={bootstrap.ANY_STACK}"
        return Finding(OK, "stack", f"TFX {name}, as STACK={name} asked", fix)
    fix = f"install Python {' or '.join(newest.pythons)}; make setup STACK={bootstrap.ANY_STACK}"
    return Finding(WARN, "stack", f"TFX {name}: no Python for {newest} was found or could be fetched", fix)


def check_python(version: tuple[int, ...], *, wanted: str, executable: str) -> Finding:
    """Whether this is the Python of .venv; `wanted` is empty if the set-up did not finish."""
    found = ".".join(map(str, version))
    if found != wanted:
        return Finding(
            BAD, "Python", f"{found} at {executable}, not {wanted or 'that of .venv'}", "make clean setup"
        )
    return Finding(OK, "Python", f"{found} at {executable}")


def check_environment(environment: Mapping[str, str]) -> Finding:
    """Whether environment variables would change a run."""
    if environment.get("TF_USE_LEGACY_KERAS", "1") not in ("1", "true", "True"):
        value = environment["TF_USE_LEGACY_KERAS"]
        return Finding(BAD, "variables", f"TF_USE_LEGACY_KERAS={value}: TFX needs Keras 2", "unset it")
    if environment.get("PYTHONDONTWRITEBYTECODE"):
        state = "PYTHONDONTWRITEBYTECODE is set: every start recompiles TFX (16 s)"
        return Finding(WARN, "variables", state, "unset it, or use the make targets")
    return Finding(OK, "variables", "none in the way")


def locked_versions(requirements: str) -> dict[str, str]:
    """Package name to version for the pins of this machine; markers need `packaging`."""
    pins = re.findall(
        r"^([a-z0-9][^=\s]*)==([^\s;\\]+)\s*(?:;\s*(.*?))?\s*\\?$", requirements, flags=re.MULTILINE
    )
    try:
        from packaging.markers import Marker
    except ImportError:  # the lock pins it: `check_lock` will name it as missing
        return {name: version for name, version, _ in pins}
    return {name: version for name, version, marker in pins if not marker or Marker(marker).evaluate()}


def check_lock(installed: Mapping[str, str], *, locked: Mapping[str, str]) -> Finding:
    """Whether the packages match requirements.lock; both arguments map a package's name to its version."""
    missing = [name for name in locked if name not in installed]
    other = [
        f"{n} {installed[n]}, not {v}" for n, v in locked.items() if n in installed and installed[n] != v
    ]
    if not missing and not other:
        return Finding(OK, "packages", f"{len(locked)} as in requirements.lock")
    wrong = [f"{name} is missing" for name in missing] + other
    more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
    return Finding(BAD, "packages", "; ".join(wrong[:4]) + more, "make clean setup")


def check_family(installed: Mapping[str, str]) -> Finding:
    """Whether the packages that are compiled against TensorFlow are compiled against this one."""
    versions = {name: installed[name] for name in TENSORFLOW_FAMILY if name in installed}
    state = ", ".join(f"{name} {version}" for name, version in versions.items())
    if len({tuple(version.split(".")[:2]) for version in versions.values()}) > 1:
        fix = "give them the same first two numbers in pyproject.toml; make lock; make setup"
        return Finding(BAD, "TensorFlow", f"versions that do not match: {state}", fix)
    return Finding(OK, "TensorFlow", state or "not installed")


def check_disk(free: int, *, path: Path) -> Finding:
    """Whether `free` bytes at `path` are enough for artifacts and checkpoints."""
    state = f"{free / GIB:.0f} GiB free at {path}"
    if free >= DISK_WANTED:
        return Finding(OK, "disk", state)
    fix = "free some, or write elsewhere: make pipeline OUT=/somewhere/else"
    return Finding(BAD if free < DISK_NEEDED else WARN, "disk", state, fix)


def memory_bytes() -> int:
    """Memory of this machine, or of its container if less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:  # no cgroup v2: no container, or macOS
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def check_memory(total: int) -> Finding:
    """Whether `total` bytes of memory are enough for a run."""
    if total >= MEMORY_WANTED:
        return Finding(OK, "memory", f"{total / GIB:.0f} GiB")
    fix = "a smaller training.batch_size and text.max_seq_length, or a larger machine"
    return Finding(BAD if total < MEMORY_NEEDED else WARN, "memory", f"{total / GIB:.1f} GiB", fix)


@dataclasses.dataclass(frozen=True)
class GpuFacts:
    """Facts about the GPU from the hardware up to TensorFlow."""

    names: tuple[str, ...]
    """GPUs listed by nvidia-smi; empty if it is missing or fails."""

    device: bool
    """Whether the system shows an NVIDIA device, driver or not."""

    libcuda: bool
    """Whether the driver's library libcuda.so.1 can be loaded."""

    extra: bool
    """Whether the CUDA libraries of the extra `gpu` are installed."""

    built_with_cuda: bool
    seen_by_tensorflow: int
    reason: str
    """TensorFlow's message if it saw none."""


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
    """Gathers the GPU facts; runs TensorFlow in a separate process (some seconds).

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
    """Output of a command; empty if it fails or takes too long."""
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


def docker_engine() -> tuple[bool, str]:
    """Whether a docker client is installed, and its engine's version (empty without an answer)."""
    client = shutil.which("docker")
    if not client:
        return False, ""
    return True, output([client, "info", "--format", "{{.ServerVersion}}"], timeout_seconds=10)


def check_docker(client: bool, engine: str) -> Finding:
    """Whether InfraValidator can use TF Serving; without docker it uses this project's server."""
    if engine:
        return Finding(OK, "docker", f"engine {engine}")
    if client:
        fix = "start it, or join the group docker; candidates are validated without it meanwhile"
        return Finding(WARN, "docker", "a client, but its engine does not answer", fix)
    return Finding(OK, "docker", "none (not needed: candidates are validated in a server process)")


def is_free(port: int) -> bool:
    """Whether a server can listen on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def check_port(port: int, *, free: bool) -> Finding:
    """Whether the port of `make serve` is free."""
    if free:
        return Finding(OK, f"port {port}", "free")
    return Finding(WARN, f"port {port}", "taken", f"make serve {PORTS[port]}={port + 100}")


def _encoder_cache() -> Iterator[Finding]:
    try:
        from bert_pipeline.encoders import resolve
    except ImportError as error:
        yield Finding(BAD, "encoder", f"cannot look: {error}", "make clean setup")
        return
    cache = resolve.default_cache_dir()
    yield check_cache(cache)
    yield check_encoder(sorted(cache.glob(f"encoders/*/{resolve.RECORD_FILE}")))


def check_cache(folder: Path) -> Finding:
    """Whether encoders can be cached in `folder`, which may not exist yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "BERT_PIPELINE_CACHE=/a/folder/you/can/write make pipeline"
        return Finding(BAD, "cache", f"{folder} cannot be written ({error.strerror})", fix)
    return Finding(OK, "cache", str(folder))


def check_encoder(records: list[Path]) -> Finding:
    """Whether a pretrained encoder is cached; `records` are those of the cache."""
    if records:
        return Finding(OK, "encoder", f"{len(records)} in the cache: runs work offline")
    return Finding(OK, "encoder", "none in the cache: the first run downloads it (about 90 MB)")
