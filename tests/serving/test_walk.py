"""A prediction over REST passes few files of the server: those of the picture in serving/model_server/README.md."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.model_server.assembly import Assembly
from serving.model_server.config.flags import parse_flags
from tests.serving.processes import ROOT
from tests.serving.rest_connection import PREDICT, Connection

_PACKAGE = ROOT / "serving" / "model_server"
_MOST_FILES = 13


class Walk:
    """The files of the server that are passed while it is on, in the order of their first call; in every thread."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.is_on = False

    def note(self, frame: Any, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if self.is_on and event == "call" and path.startswith(str(_PACKAGE)):
            self.files[str(Path(path).relative_to(_PACKAGE))] = None


@pytest.fixture
def walk() -> Iterator[Walk]:
    """Off; threads that start meanwhile are looked at as well."""
    one = Walk()
    threading.setprofile(one.note)
    sys.setprofile(one.note)
    yield one
    sys.setprofile(None)
    threading.setprofile(None)  # type: ignore[arg-type]  # as the documentation has it


async def predict(walk: Walk, *flags: str) -> list[str]:
    """Asks twice, the second time with the walk on; the log is written before it ends."""
    ports = (
        "--host=127.0.0.1",
        "--port=0",
        "--rest_api_port=0",
        "--port_file=unused",
        "--file_system_poll_wait_seconds=0",
    )
    parts = Assembly(parse_flags([*ports, "--model_name=toy", "--enable_batching", *flags]))
    parts.manager.poll()
    assert parts.manager.ready
    await parts.open_ports()
    rest: Any = parts._rest
    with contextlib.closing(parts.manager):
        connection = await Connection.open(rest)
        for is_on in (False, True):
            walk.is_on = is_on
            answer = await connection.ask("POST", PREDICT, {"instances": ["hi"]})
            assert (answer.status, answer.json["predictions"][0]["label"]) == (200, "short")
        await asyncio.to_thread(parts._request_log.close)
        walk.is_on = False
        await connection.close()
        await parts.close(10)
    return list(walk.files)


@pytest.mark.parametrize("logged", [False, True], ids=["without a request log", "with a request log"])
def test_one_predict_passes_13_files_at_most(
    toy_path: Path, tmp_path: Path, walk: Walk, logged: bool
) -> None:
    shutil.copytree(toy_path, tmp_path / "toy" / "1")
    log = [f"--request_log_prefix={tmp_path / 'requests'}"] * logged
    files = asyncio.run(asyncio.wait_for(predict(walk, f"--model_base_path={tmp_path / 'toy'}", *log), 100))
    assert len(files) <= _MOST_FILES, "\n".join(files)
    assert bool(list(tmp_path.glob("requests-*"))) == logged
    page = (_PACKAGE / "README.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^\d+\. `([\w/]+\.py)`", page, re.MULTILINE)
    assert sorted(drawn) == sorted(files)
