"""What is not whole, or does not work, is never served; the old version answers on, and the status says why."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.serving.processes import RunningServer, wait_until
from tests.serving.soak.callers import CALLERS, Answer, in_threads, statuses
from tests.serving.soak.models import push, save_echo

_GRAPH, _INDEX = "saved_model.pb", "variables/variables.index"
_DATA, _WORDS = "variables/variables.data-00000-of-00001", "assets/words.txt"


def copy_slowly(source: Path, folder: Path, *, order: list[str], seconds: float) -> None:
    """Copies file by file, in pieces, into the very folder that the server looks at; as scp and cp -r do."""
    pieces = 10
    for name in order:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        content = (source / name).read_bytes()
        size = len(content) // pieces + 1
        with (folder / name).open("wb") as file:
            for at in range(pieces):
                file.write(content[at * size : (at + 1) * size])
                file.flush()
                time.sleep(seconds / pieces / len(order))


def with_damaged_variables(source: Path, partial: Path) -> None:
    """Whole by its sizes, with bytes turned over in the middle."""
    shutil.copytree(source, partial)
    content = bytearray((partial / _DATA).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    (partial / _DATA).write_bytes(content)


def with_cut_graph(source: Path, partial: Path) -> None:
    """Half of the graph's file."""
    shutil.copytree(source, partial)
    content = (partial / _GRAPH).read_bytes()
    (partial / _GRAPH).write_bytes(content[: len(content) // 2])


def with_failing_warmup(source: Path, partial: Path) -> None:
    """A warm-up record that is none."""
    shutil.copytree(source, partial)
    (partial / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(partial / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(b"\xff\xff no PredictionLog")


class Traffic:
    """One client of each protocol that asks without a pause."""

    def __init__(self, server: RunningServer) -> None:
        self.answers: list[Answer] = []
        self._done = threading.Event()
        self._threads = in_threads(lambda number: self._ask(CALLERS[number](server)), len(CALLERS))

    def _ask(self, caller: Any) -> None:
        while not self._done.is_set():
            self.answers.append(caller.call("model", {"text": ["x"]}))
            time.sleep(0.005)
        caller.close()

    def stop(self) -> list[Answer]:
        self._done.set()
        for thread in self._threads:
            thread.join()
        return self.answers


def version_served(answers: list[Answer]) -> set[str]:
    """What was answered, failures by their code."""
    return {answer.outputs["answer"][0] if answer.code == "OK" else answer.code for answer in answers}


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    save_echo(tmp_path / "model" / "1", name="model")
    return tmp_path / "model"


@pytest.fixture
def server(base_path: Path, start_server: Any) -> RunningServer:
    """A server that looks often and tries again at once, so that it has every chance to be wrong."""
    flags = ("--file_system_poll_wait_seconds=0.05", "--load_retry_interval_micros=100000")
    return start_server("--model_name=model", f"--model_base_path={base_path}", *flags)


def state_of(server: RunningServer, version: int) -> tuple[str, str]:
    return statuses(server, "model").get(version, ("", ""))


ORDERS = {
    "vocabulary last": [_GRAPH, "fingerprint.pb", _INDEX, _DATA, _WORDS],
    "graph last": [_WORDS, _DATA, _INDEX, "fingerprint.pb", _GRAPH],
    "data last": [_INDEX, _GRAPH, _WORDS, "fingerprint.pb", _DATA],
}


def load_while_copied(
    server: RunningServer, base_path: Path, source: Path, *, order: list[str], seconds: float
) -> dict[str, Any]:
    """Copies version 2 slowly; it must be served when, and only when, it is whole."""
    traffic = Traffic(server)
    copy_slowly(source, base_path / "2", order=order, seconds=seconds)
    whole = time.monotonic()
    wait_until(lambda: state_of(server, 2)[0] == "AVAILABLE" and state_of(server, 1)[0] == "END")
    available = time.monotonic()
    time.sleep(0.2)
    answers = traffic.stop()
    early = [a for a in answers if a.end < whole and version_served([a]) != {"model:1:x"}]
    return {
        "requests": len(answers),
        "early": len(early),
        "answers": sorted(version_served(answers)),
        "seconds_to_copy": seconds,
        "seconds_until_served": round(available - whole, 1),
    }


def test_a_version_copied_in_slowly_is_served_when_it_is_whole(
    server: RunningServer, base_path: Path, tmp_path: Path, report: Callable[..., None]
) -> None:
    source = save_echo(tmp_path / "elsewhere" / "2", name="model")
    figures = load_while_copied(server, base_path, source, order=ORDERS["vocabulary last"], seconds=1.5)
    report(**figures)
    assert (figures["early"], figures["answers"]) == (0, ["model:1:x", "model:2:x"])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("order", ORDERS)
def test_a_version_copied_in_over_30_seconds(
    server: RunningServer, base_path: Path, tmp_path: Path, report: Callable[..., None], order: str
) -> None:
    source = save_echo(tmp_path / "elsewhere" / "2", name="model", megabytes=20)
    figures = load_while_copied(server, base_path, source, order=ORDERS[order], seconds=30)
    report(**figures)
    assert (figures["early"], figures["answers"]) == (0, ["model:1:x", "model:2:x"])


DAMAGES = {
    "variables": (with_damaged_variables, "variables"),
    "graph": (with_cut_graph, "saved_model.pb"),
    "warm-up": (with_failing_warmup, "warm-up"),
}


def refuse(server: RunningServer, base_path: Path, damage: str, *, seconds: float) -> dict[str, Any]:
    """Pushes a version that cannot work, asks on for a while, and notes what the status says meanwhile."""
    make, _ = DAMAGES[damage]
    traffic, seen = Traffic(server), set()
    push(base_path / "2", lambda partial: make(base_path / "1", partial))
    wait_until(lambda: state_of(server, 2)[0] == "END")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen |= {(version, *state) for version, state in statuses(server, "model").items()}
        time.sleep(0.02)
    answers = traffic.stop()
    return {
        "requests": len(answers),
        "answers": sorted(version_served(answers)),
        "old_states": sorted({state for version, state, _ in seen if version == 1}),
        "new_states": sorted({state for version, state, _ in seen if version == 2}),
        "errors": sorted({error for version, state, error in seen if (version, state) == (2, "END")}),
    }


def check_refused(figures: dict[str, Any], *, damage: str, report: Callable[..., None]) -> None:
    report(damage=damage, **figures)
    assert figures["answers"] == ["model:1:x"]
    assert figures["old_states"] == ["AVAILABLE"]
    assert {"END"} <= set(figures["new_states"]) <= {"START", "LOADING", "END"}  # it is tried again
    assert len(figures["errors"]) == 1
    assert DAMAGES[damage][1] in figures["errors"][0]
    assert "\n" not in figures["errors"][0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_v6_a_version_that_does_not_work_leaves_the_old_one(
    server: RunningServer, base_path: Path, damage: str, report: Callable[..., None]
) -> None:
    check_refused(refuse(server, base_path, damage, seconds=0.5), damage=damage, report=report)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_version_that_does_not_work_is_refused_for_30_seconds(
    server: RunningServer, base_path: Path, damage: str, report: Callable[..., None]
) -> None:
    check_refused(refuse(server, base_path, damage, seconds=30), damage=damage, report=report)
