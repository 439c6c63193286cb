"""A text gets the same answer whoever it shares a batch with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.serving.processes import RunningServer
from tests.serving.soak.callers import CALLERS, in_threads
from tests.serving.soak.models import copy_version, save_encoder


def answers(server: RunningServer, texts: Sequence[str], *, clients: int) -> list[tuple[str, list[float]]]:
    """Label and probabilities of each text, one text a request; half of the clients speak REST."""
    found: dict[int, tuple[str, list[float]]] = {}

    def ask(number: int) -> None:
        caller = CALLERS[number % 2](server)
        for at in range(number, len(texts), clients):
            answer = caller.call("model", {"text": [texts[at]]})
            assert answer.code == "OK", answer.message
            found[at] = answer.outputs["label"][0], answer.outputs["probabilities"][0]
        caller.close()

    for thread in in_threads(ask, clients):
        thread.join()
    return [found[at] for at in range(len(texts))]


def compare(start_server: Any, flags: list[str], *, base_path: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Asks a server that batches from 32 clients at once, and one that does not from one."""
    place = ("--model_name=model", f"--model_base_path={base_path}")
    batched = answers(start_server(*place, *flags), texts, clients=32)
    alone = answers(start_server(*place), texts, clients=1)
    differences = [
        abs(x - y)
        for (_, xs), (_, ys) in zip(batched, alone, strict=True)
        for x, y in zip(xs, ys, strict=True)
    ]
    return {
        "texts": len(texts),
        "other_label": sum(x != y for (x, _), (y, _) in zip(batched, alone, strict=True)),
        "largest_difference": max(differences),
        "values_that_differ": sum(difference > 0 for difference in differences),
    }


def check(figures: dict[str, Any], *, report: Callable[..., None]) -> None:
    report(**figures)
    assert figures["other_label"] == 0
    assert figures["largest_difference"] <= 1e-5


def test_batched_answers_are_those_of_texts_alone(
    tmp_path: Path, start_server: Any, batching_flags: Any, texts: list[str], report: Callable[..., None]
) -> None:
    save_encoder(tmp_path / "model" / "1")
    flags = batching_flags(max_batch_size=32, batch_timeout_micros=5000)
    check(compare(start_server, flags, base_path=tmp_path / "model", texts=texts[:200]), report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_1000_texts_of_a_real_model(
    tmp_path: Path,
    start_server: Any,
    batching_flags: Any,
    texts: list[str],
    report: Callable[..., None],
    real_model: Path,
) -> None:
    copy_version(real_model, tmp_path / "model" / "1")
    flags = batching_flags(max_batch_size=32, batch_timeout_micros=5000)
    check(compare(start_server, flags, base_path=tmp_path / "model", texts=texts), report=report)
