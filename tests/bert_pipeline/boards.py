"""TensorBoard in a process, and what it answers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests.bert_pipeline.projects import Project

EVERY_SESSION = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN"], "colParams": [], "sliceSize": 9}


@dataclasses.dataclass(frozen=True)
class Board:
    """A TensorBoard that runs."""

    address: str
    told: str
    """What the command printed before it."""

    def ask(self, path: str, **body: object) -> Any:
        """Its answer, asked again while it has not read the folder yet."""
        data = json.dumps(body).encode() if body else None
        for _ in range(100):
            request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
            with (
                contextlib.suppress(urllib.error.HTTPError),
                urllib.request.urlopen(request, timeout=30) as answer,
            ):
                content = answer.read()
                if found := json.loads(content) if content[:1] in b"[{" else content.decode():
                    return found
            time.sleep(0.1)
        raise AssertionError(f"{path} stays empty")

    def sessions(self) -> list[dict[str, Any]]:
        """The trainings that the page of settings shows."""
        return list(self.ask("data/plugin/hparams/session_groups", **EVERY_SESSION)["sessionGroups"])


@contextlib.contextmanager
def board(project: Project) -> Iterator[Board]:
    """The verb `tensorboard` on a free port, until the test ends."""
    process, told = project.start("--port", "0", verb="tensorboard"), ""
    try:
        for line in process.stdout or ():
            told += line
            if found := re.search(r"TensorBoard at (http://127\.0\.0\.1:\d+/)", line):
                yield Board(found[1], told)
                return
        raise AssertionError(told)
    finally:
        process.kill()
        process.communicate()
