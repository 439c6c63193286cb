"""Batching puts strangers' requests together: each must get its own answer, from the model it asked."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.processes import RunningServer
from tests.serving.soak.callers import CALLERS, Answer, in_threads
from tests.serving.soak.models import save_echo

_MODELS, _VERSIONS = ("first", "second"), (1, 2)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A call and its answer."""

    model: str
    version: int
    texts: list[str]
    answer: Answer

    @property
    def is_right(self) -> bool:
        """Whether answer, version and order of rows are those of the model asked."""
        answers = [f"{self.model}:{self.version}:{text}" for text in self.texts]
        right = self.answer.code == "OK" and self.answer.outputs["answer"] == answers
        return right and self.answer.version in (self.version, None)


def ask_all(server: RunningServer, *, num_calls: int, threads: int = 16) -> list[Asked]:
    """Every thread asks both versions of both models in turns, one to three texts at a time, by both protocols."""
    asked: list[list[Asked]] = [[] for _ in range(threads)]
    kinds = list(itertools.product(_MODELS, _VERSIONS))

    def ask(number: int) -> None:
        caller = CALLERS[number % 2](server)
        for turn in range(num_calls // threads):
            model, version = kinds[(turn * 7 + number // 2) % len(kinds)]
            texts = [f"client {number} turn {turn} row {row}" for row in range(turn % 3 + 1)]
            answer = caller.call(model, {"text": texts}, version=version)
            asked[number].append(Asked(model, version, texts, answer))
        caller.close()

    for thread in in_threads(ask, threads):
        thread.join()
    return [one for mine in asked for one in mine]


@pytest.fixture
def server(tmp_path: Path, start_server: Any, batching_flags: Callable[..., list[str]]) -> RunningServer:
    """Two versions of two models, batched; a batch waits a little, so that there are batches."""
    entries = []
    for model in _MODELS:
        for version in _VERSIONS:
            save_echo(tmp_path / model / str(version), name=model)
        place = f'name: "{model}" base_path: "{tmp_path / model}" model_platform: "tensorflow"'
        entries.append(f"config {{ {place} model_version_policy {{ all {{}} }} }}")
    config = tmp_path / "models.config"
    config.write_text("model_config_list { " + " ".join(entries) + " }")
    flags = batching_flags(max_batch_size=16, batch_timeout_micros=2000, num_batch_threads=2)
    return start_server(f"--model_config_file={config}", *flags)


def check(asked: list[Asked], *, report: Callable[..., None]) -> None:
    """All right, and not because nothing was batched."""
    wrong = [one for one in asked if not one.is_right]
    together = collections.Counter(
        "alone" if one.answer.outputs["rows"][0] == len(one.texts) else "together"
        for one in asked
        if one.answer.code == "OK"
    )
    report(
        calls=len(asked), wrong=len(wrong), run_with_others=together["together"], run_alone=together["alone"]
    )
    assert wrong == []
    assert together["together"] > len(asked) / 10


def test_no_answer_from_another_model_or_version(server: RunningServer, report: Callable[..., None]) -> None:
    check(ask_all(server, num_calls=640), report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_20000_calls_get_their_own_answers(server: RunningServer, report: Callable[..., None]) -> None:
    check(ask_all(server, num_calls=20_000), report=report)
