"""A small model to be served, and a server process that serves it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("short", "long")


class Toy(tf.Module):
    """serving_default: is a text long? arithmetic: two typed inputs. busy: takes as long as it is told."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        is_long = tf.strings.length(text) > 5
        probabilities = tf.where(is_long[:, tf.newaxis], [[0.2, 0.8]], [[0.8, 0.2]])
        names = tf.constant(NAMES)
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
            "labels": tf.tile(names[tf.newaxis], [tf.size(text), 1]),
            "probabilities": probabilities,
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 1], tf.float32, name="x"),
            tf.TensorSpec([None], tf.int32, name="n"),
        ]
    )
    def arithmetic(self, x: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2 + self.offset, "n": n + 1, "raw_bytes": tf.strings.as_string(n)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def busy(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        matrix = tf.eye(400)
        for _ in tf.range(turns):
            matrix = tf.linalg.matmul(matrix, matrix)
        return {"trace": tf.linalg.trace(matrix)}


def save_toy(folder: Path, *, offset: float = 1.0) -> Path:
    """Writes the SavedModel under a name that no server sees, then renames it."""
    toy = Toy(offset)
    signatures = {"serving_default": toy.classify, "arithmetic": toy.arithmetic, "busy": toy.busy}
    partial = folder.parent / f".{folder.name}"
    concrete = {name: function.get_concrete_function() for name, function in signatures.items()}
    tf.saved_model.save(toy, str(partial), signatures=concrete)
    partial.rename(folder)
    return folder


@dataclasses.dataclass
class RunningServer:
    process: subprocess.Popen[bytes]
    base_path: Path
    log: Path
    port: int
    rest_port: int


def start_server(base_path: Path, work_dir: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", "serving.model_server", "--model_name=toy"]
    command += [f"--model_base_path={base_path}", "--port=0", "--host=127.0.0.1"]
    command += [f"--port_file={work_dir / 'ports.json'}", *flags]
    with open(work_dir / "server.log", "wb") as log:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("toy") / "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server process over a base path of its own."""
    folder = tmp_path_factory.mktemp("server")
    base_path = folder / "models"
    base_path.mkdir()
    save_toy(base_path / "1")
    (base_path / "not_a_version").mkdir()
    process = start_server(base_path, folder, "--file_system_poll_wait_seconds=0.1", "--exit_with_stdin")
    try:
        ports_path = folder / "ports.json"
        wait_until(lambda: ports_path.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "server.log").read_text()
        ports = json.loads(ports_path.read_text())
        yield RunningServer(process, base_path, folder / "server.log", ports["port"], ports["rest_api_port"])
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


@pytest.fixture(scope="session", name="save_toy")
def save_toy_fixture() -> Callable[..., Path]:
    """`save_toy`, for tests that need further versions."""
    return save_toy


@pytest.fixture(scope="session", name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    """`wait_until`."""
    return wait_until
