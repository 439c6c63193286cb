"""An output folder that an older main made goes through every verb of this one.

The older code is taken from Git's history, as somebody has it who pulls: it trains and pushes two versions of the toy
task and serves; then this code takes its place in the same folder.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
OLD = "51b7915f3911158718898b276e63be46dee97a1d"  # flat files, before the rooms
CODE = ("bert_pipeline", "modules", "serving")
WITHOUT_OUT = {
    "doctor",
    "new-task",
    "predict",
    "schema",
    "settings",
    "spans",
}  # read or write no output folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Project:
    """A folder with the code, the toy task's data and `out/`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out" / "toy"
        self.verbs: set[str] = set()
        self._environment = {
            **os.environ, "PYTHONPATH": f"{folder / 'modules'}:{folder}", "TF_USE_LEGACY_KERAS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3", "BERT_PIPELINE_CACHE": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def start(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts `python -m bert_pipeline VERB`."""
        self.verbs.add(verb)
        command = [sys.executable, "-W", "ignore", "-m", "bert_pipeline", verb, *arguments]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, env=self._environment, text=True, **output)

    def run(self, verb: str, *arguments: str, status: int = 0) -> str:
        """Runs a verb to its end; what it prints."""
        process = self.start(verb, *arguments)
        output = process.communicate()[0]
        assert process.returncode == status, f"{verb} ended with {process.returncode}:\n{output}"
        return output

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """`serve --log`; gives the port of REST."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        process = self.start("serve", "--task=toy", "--log", "--grpc_port=0", f"--rest_port={port}")
        try:
            end = time.monotonic() + 300
            while not _is_available(port):
                assert process.poll() is None and time.monotonic() < end, "the server did not start"
                time.sleep(0.5)
            yield port
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def versions(self) -> list[str]:
        """Pushed versions, the oldest first."""
        return sorted(path.name for path in (self.out / "serving" / "toy").iterdir() if path.name.isdigit())

    def metrics(self) -> list[list[str]]:
        """Name and values of each metric, of all runs."""
        rows = list(csv.reader(self.run("compare", "--task=toy", "--format=csv").splitlines()))
        return [row for row in rows if row and row[0].startswith(("accuracy", "macro_f1"))]


def _is_available(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/toy", timeout=60) as response:
            return "AVAILABLE" in response.read().decode()
    except OSError:
        return False


def _predict(port: str, texts: list[str]) -> list[tuple[str, list[float]]]:
    """Labels, and probabilities as float32: how many digits are written is the server's affair."""
    body = json.dumps({"instances": texts}).encode()
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/v1/models/toy:predict", body, timeout=60
    ) as response:
        answers = json.load(response)["predictions"]
    return [(each["label"], np.float32(each["probabilities"]).tolist()) for each in answers]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With two pushed versions and a request log of the older code."""
    folder = tmp_path_factory.mktemp("project")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", OLD, *CODE, "data/toy"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"Git's history here does not reach {OLD}: fetch it (git fetch --unshallow)")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return Project(folder)


def test_every_verb_goes_on_where_the_older_code_stopped(project: Project) -> None:
    with open(project.folder / "data" / "toy" / "eval.csv", encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    project.run("pipeline", "--task=toy")
    project.run("pipeline", "--task=toy", "--set=training.epochs=14")
    pushed = project.versions()
    assert len(pushed) == 2
    lineages = [json.loads(project.run("lineage", "--task=toy", "--format=json", each)) for each in pushed]
    metrics = project.metrics()
    with project.serving() as port:
        answers = _predict(port, texts)

    for name in CODE:
        shutil.rmtree(project.folder / name)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, project.folder / name, ignore=ignored)
    project.verbs.clear()

    for version, before in zip(pushed, lineages, strict=True):
        now = json.loads(project.run("lineage", "--task=toy", "--format=json", version))
        assert {key: now[key] for key in before} == before
    assert project.metrics() == metrics
    assert "index.html" in project.run("report", "--task=toy", "--no-open", "1")
    assert f"version {pushed[-1]}, in service" in project.run("gc", "--task=toy")
    project.run("upgrade-metadata", "--task=toy")
    assert f"version {pushed[-1]}: {len(texts)} texts" in project.run("monitor", "--task=toy")
    with project.serving() as port:
        assert _predict(port, texts) == answers
        assert "negative" in project.run("predict", "--task=toy", f"--rest_port={port}", "--text=a good shoe")
    assert "no skew" in project.run("skew", "--task=toy", "--csv=data/toy/eval.csv")
    project.run("label", "--task=toy", "--texts=data/toy/eval.csv", "--to=labelled.csv")
    assert len((project.folder / "labelled.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(texts)
    _show_trainings(project)
    project.run("rollback", "--task=toy")
    assert len(project.versions()) == 3
    # The code of Trainer and Transform has another place: both run once more; the metrics are those of before.
    again = project.run("pipeline", "--task=toy")
    assert "every gate held" in again
    rows = {row[0]: row[1:] for row in project.metrics()}
    assert {name: values[-1] for name, values in rows.items()} == {row[0]: row[1] for row in metrics}
    assert "15 components" in project.run("node", "Begin", "--task=toy", "--run=by-steps")
    project.run("gc", "--task=toy", "--yes", "--keep=1")
    assert project.versions()[-1] in project.run("lineage", "--task=toy")

    names = project.run("--help")
    verbs = {line.split()[0] for line in names.splitlines() if line.startswith("    ") and line[4] != " "}
    assert verbs - project.verbs - WITHOUT_OUT == set()


def _show_trainings(project: Project) -> None:
    process = project.start("tensorboard", "--task=toy", "--port=0")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "http://" in line:
            break
    process.terminate()
    process.communicate(timeout=60)
    assert "http://" in lines[-1], "".join(lines)
