"""A copy of the project, and runs of its command by a process as people start it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bert_pipeline.pages import Page

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("bert_pipeline", "modules", "serving", "data/toy")

EVERY_COMPONENT = [
    "ExampleGen", "StatisticsGen", "Schema", "ExampleValidator", "Transform", "Trainer", "Baseline",
    "Evaluator", "InfraValidator", "Pusher", "UnlabelledExampleGen", "ServingValidator",
    "BulkInferrer", "LabelledTable", "Coverage",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a run printed and left."""

    status: int
    text: str
    versions: list[str]

    def state(self, node: str) -> str:
        line = re.search(rf"^  {node} +(cached|[\d.]+ s)(.*)$", self.text, re.MULTILINE)
        assert line, f"{node} is not in:\n{self.text}"
        return "failed" if "FAILED" in line[2] else "cached" if line[1] == "cached" else "ran"

    @property
    def report_path(self) -> Path:
        line = re.search(r"^report    (.*/index\.html)$", self.text, re.MULTILINE)
        assert line, self.text
        return Path(line[1])

    @property
    def report(self) -> Page:
        return Page(self.report_path.read_text(encoding="utf-8"))


class Project:
    """A copy of the project with an output folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.task_file = folder / "bert_pipeline" / "tasks" / "toy.toml"
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{folder / 'modules'}:{folder}",
            "BERT_PIPELINE_CACHE": str(folder / "cache"),
            "PIP_NO_INDEX": "1",  # packaging the user modules must need no index
        }

    def start(self, *arguments: str, verb: str = "pipeline") -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", "-m", "bert_pipeline", verb, "--task", "toy", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, verb: str = "pipeline") -> Ended:
        process = self.start(*arguments, verb=verb)
        text, _ = process.communicate(timeout=600)
        return Ended(process.returncode, text, self.versions())

    def run_until(self, pattern: str, *arguments: str) -> str:
        """Runs until a line matches, then kills the whole process group with SIGKILL."""
        process = self.start(*arguments)
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if re.search(pattern, line):
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "".join(lines)

    def versions(self) -> list[str]:
        base = self.folder / "out" / "toy" / "serving" / "toy"
        return sorted(p.name for p in base.iterdir()) if base.exists() else []

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / name
        old = path.read_text(encoding="utf-8")
        new = change(old)
        assert new != old
        path.write_text(new, encoding="utf-8")
