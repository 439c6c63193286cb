"""`make serve` as a person meets it: it survives what ends the server, and Ctrl-C ends it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.settings.config import PROJECT_ROOT
from tests.serving.contract.toy import save_toy
from tests.serving.processes import free_ports, wait_until
from tests.serving.test_process import child_of_process


class Serving:
    """The verb `serve` on a toy model, as a terminal runs it: a group of processes of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "out" / "mine" / "serving" / "mine").mkdir(parents=True)
        save_toy(folder / "out" / "mine" / "serving" / "mine" / "1", signatures=["serving_default"])
        (folder / "mine.toml").write_text('name = "mine"')
        self.rest_port, grpc_port = free_ports(2)
        self._log = folder / "serve.log"
        words = ["-W", "ignore", "-m", "bert_pipeline", "serve", "--task", "mine.toml"]
        words += ["--rest_port", str(self.rest_port), "--grpc_port", str(grpc_port)]
        paths = os.pathsep.join([str(PROJECT_ROOT / "modules"), str(PROJECT_ROOT)])
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text()

    def label(self) -> str:
        """Of a short text; "" where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=30)
        try:
            connection.request("POST", "/v1/models/mine:predict", json.dumps({"instances": ["hi"]}))
            answer = json.loads(connection.getresponse().read())
            return str(answer["predictions"][0]["label"]) if "predictions" in answer else ""
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def wait(self) -> None:
        wait_until(lambda: self.label() == "short" or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    started = Serving(tmp_path)
    yield started
    started.process.kill()  # and the child, whose standard input then ends
    started.process.wait()


@pytest.mark.timeout(300)
def test_make_serve_survives_three_kills_and_ctrl_c_ends_it(serving: Serving) -> None:
    serving.wait()
    first = child_of_process(serving.process.pid)
    children, gaps = {first}, []
    for _ in range(3):
        os.kill(child_of_process(serving.process.pid), signal.SIGKILL)
        start = time.monotonic()
        wait_until(lambda: not serving.label())
        serving.wait()
        gaps.append(time.monotonic() - start)
        children.add(child_of_process(serving.process.pid))
    print(f"gaps of {', '.join(f'{gap:.1f}' for gap in gaps)} s")
    assert len(children) == 4
    pauses = re.findall("the server was ended by SIGKILL; it starts again in ([0-9]+) s", serving.log())
    assert pauses == ["1", "2", "4"]
    assert "is not loaded again" not in serving.log()  # nothing ran when it was killed
    os.killpg(serving.process.pid, signal.SIGINT)  # what Ctrl-C does
    assert serving.process.wait(60) == 0
    assert "stopping: no new requests" in serving.log()
    assert serving.log().rstrip().endswith(": stopped")
    assert "a second signal" not in serving.log()


@pytest.mark.timeout(120)
def test_killing_the_parent_ends_the_server(serving: Serving) -> None:
    serving.wait()
    serving.process.kill()
    wait_until(lambda: not serving.label(), seconds=60)
