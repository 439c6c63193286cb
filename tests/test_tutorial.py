"""The tutorial's own commands, played in their order in a copy of the project; only the encoder is the toy's.

The toy's BERT knows 64 word pieces and learns little of real texts, so that verdicts differ from the page's; what is
held here is that each command is taken, ends as the page says, and finds what the ones before it left.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "bert_pipeline" / "TUTORIAL.md"
COPIED = ("bert_pipeline", "modules", "serving", "data", "Makefile")


def commands() -> list[str]:
    """What stands behind `$` in the page's blocks, with the lines of a here-document."""
    lines = iter(re.findall(r"^    (.*)$|^$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    found = []
    for line in lines:
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
            if "<<'END'" in command:
                for more in lines:
                    command += f"\n{more}"
                    if more == "END":
                        break
            found.append(command)
    return found


class Reader:
    """Somebody who types the commands in a clone."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.clone.mkdir()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.clone / name)
        self.ports = [str(free_port()), str(free_port())]
        # Set up already: the tests' own Python, and no .venv.
        make = f'make() {{ command make -o setup VENV_PYTHON="{sys.executable}" "$@"; }}; '
        self.start = make + f"export GRPC_PORT={self.ports[0]} REST_PORT={self.ports[1]}; "
        self.environment = {**os.environ, "BERT_PIPELINE_CACHE": str(folder / "cache"), "PIP_NO_INDEX": "1"}

    def types(self, command: str) -> tuple[int, str]:
        command = command.replace("localhost:8501", f"localhost:{self.ports[1]}")
        done = subprocess.run(
            ["bash", "-c", self.start + command], cwd=self.clone, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    @contextlib.contextmanager
    def second_terminal(self, command: str) -> Iterator[None]:
        """A server; there when its page says so, and ended by Ctrl-C."""
        process = subprocess.Popen(
            ["bash", "-c", self.start + command], cwd=self.clone, env=self.environment, start_new_session=True
        )
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://localhost:{self.ports[1]}/readyz").close()
                    break
                assert process.poll() is None
                time.sleep(0.2)
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)

    def takes_the_toys_encoder(self) -> None:
        """In the task file that new-task wrote; and a gate that a model which learned nothing keeps."""
        file = self.clone / "bert_pipeline" / "tasks" / "reviews.toml"
        text = file.read_text(encoding="utf-8")
        for pattern, instead in (
            (r'handle = "[^"]*"', 'handle = "data/toy/encoder"'),
            (r"max_seq_length = \d+", "max_seq_length = 32"),
            (r"epochs = \d+", "epochs = 1"),
            (r"(?<!\w)min = [\d.]+.*\n(max_drop = ).*", r"min = 0.0\n\g<1>1.0"),
        ):
            text, count = re.subn(pattern, instead, text)
            assert count == 1, pattern
        file.write_text(text, encoding="utf-8")

    def adds_the_gate(self) -> None:
        gate = (
            '\n[[evaluation.gates]]\nmetric = "accuracy"\nslice = "category=men\'s dress shoes"\nmin = 0.99\n'
        )
        with open(self.clone / "bert_pipeline" / "tasks" / "reviews.toml", "a", encoding="utf-8") as file:
            file.write(gate)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def test_the_page_has_every_step_from_the_table_to_the_way_back() -> None:
    verbs = [words[1] for words in map(str.split, commands()) if words[0] == "make"]
    assert verbs == [
        "new-task", "pipeline", "serve", "predict", "predict", "monitor", "pipeline", "rollback", "pipeline",
        "lineage", "compare",
    ]  # fmt: skip


def test_the_script_that_gives_rows_ids_knows_nothing_of_the_sample(tmp_path: Path) -> None:
    [script] = [command for command in commands() if command.startswith("cat > ../with_ids.py")]
    (tmp_path / "clone").mkdir()
    subprocess.run(["bash", "-c", script], cwd=tmp_path / "clone", check=True)
    (tmp_path / "mine.csv").write_text('Titel,note\n"two\nlines, ""so""",7\n,\n')
    command = [sys.executable, "with_ids.py", "mine.csv", "ids.csv"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with open(tmp_path / "ids.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "Titel", "note"],
            ["row-0", 'two\nlines, "so"', "7"],
            ["row-1", "", ""],
        ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    said: list[str] = []
    with contextlib.ExitStack() as terminal:
        for command in commands():
            verb = command.split()[1] if command.startswith("make") else ""
            if verb == "serve":
                terminal.enter_context(reader.second_terminal(command))
                continue
            refused = verb == "pipeline" and any("rolled back" in text for text in said)
            if refused:
                reader.adds_the_gate()
            status, text = reader.types(command)
            assert status == 2 if refused else status in ((0, 2) if verb == "monitor" else (0,)), text
            said.append(text)
            if verb == "new-task":
                reader.takes_the_toys_encoder()
    whole = "\n".join(said)
    assert "data      1 span, span-1" in whole
    assert len(re.findall(r"; pushed as version \d+", whole)) == 2
    assert "350 of 350 logged texts have a label" in whole or "350 of 352 logged texts" in whole
    assert "trained on spans 1, 2; evaluated on span 2" in whole
    assert "verdict   REFUSED; what was in service stays" in whole
    assert re.search(r"copy of +version \d+, by rollback: men's dress shoes are no better", whole)
