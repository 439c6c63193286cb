"""How versions come and go, with servables that only note what happens to them."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from pathlib import Path

import pytest

from serving.model_server import __main__ as server_main
from serving.model_server.errors import ServingError
from serving.model_server.servable import LoadError
from serving.model_server.versions import RetryPolicy, ServedModel, State, scan

events: list[str] = []


class FakeServable:
    """Fails to load where its folder holds a file called `broken`."""

    def __init__(self, path: str, *, name: str, version: int) -> None:
        if (Path(path) / "broken").exists():
            raise LoadError("it is broken")
        self.version = version
        events.append(f"load {version}")

    def close(self) -> None:
        events.append(f"unload {self.version}")


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    events.clear()
    policy = RetryPolicy(max_retries=1, interval_seconds=0.0)
    return ServedModel("m", str(tmp_path / "base"), retry=policy, load=FakeServable)  # type: ignore[arg-type]


def add(tmp_path: Path, name: str, *, broken: bool = False) -> Path:
    folder = tmp_path / "base" / name
    folder.mkdir(parents=True)
    if broken:
        (folder / "broken").touch()
    return folder


def test_versions_are_folders_whose_name_is_an_int64(tmp_path: Path) -> None:
    for name in ("1", "007", ".8.incomplete", "9x", "-3", "9223372036854775808", "\u0663"):
        add(tmp_path, name)
    (tmp_path / "base" / "12").touch()
    assert sorted(scan(str(tmp_path / "base")) or {}) == [1, 7]


def test_latest_is_served_and_new_is_loaded_before_old_is_unloaded(
    tmp_path: Path, model: ServedModel
) -> None:
    add(tmp_path, "1")
    add(tmp_path, "2")
    model.poll()
    add(tmp_path, "10")
    model.poll()
    model.poll()
    assert events == ["load 2", "load 10", "unload 2"]
    assert {v: s.state for v, s in model.statuses().items()} == {10: State.AVAILABLE, 2: State.END}


def test_missing_base_path_unloads_nothing_and_an_empty_one_all(tmp_path: Path, model: ServedModel) -> None:
    folder = add(tmp_path, "1")
    model.poll()
    moved = folder.parent.rename(tmp_path / "away")
    model.poll()
    assert events == ["load 1"]
    moved.rename(tmp_path / "base")
    folder.rename(tmp_path / "1")
    model.poll()
    assert events == ["load 1", "unload 1"]
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"), model.use():
        pass


def test_broken_version_keeps_the_old_one_and_is_tried_again_a_set_number_of_times(
    tmp_path: Path, model: ServedModel
) -> None:
    add(tmp_path, "1")
    model.poll()
    folder = add(tmp_path, "2", broken=True)
    for _ in range(4):
        model.poll()
    status = model.statuses()[2]
    assert (status.state, status.error, status.failures) == (State.END, "it is broken", 2)
    assert events == ["load 1"]
    assert model.failed() is None
    (folder / "broken").unlink()
    model.poll()
    assert events == ["load 1"]  # it failed too often
    folder.rename(tmp_path / "aside")
    model.poll()
    (tmp_path / "aside").rename(folder)
    model.poll()
    assert events == ["load 1", "load 2", "unload 1"]


def test_first_version_that_fails_for_good_is_told(tmp_path: Path, model: ServedModel) -> None:
    add(tmp_path, "1", broken=True)
    model.poll()
    assert model.failed() is None
    model.poll()
    assert model.failed() == (1, "it is broken")


def test_version_in_use_is_unloaded_when_its_request_is_done(tmp_path: Path, model: ServedModel) -> None:
    add(tmp_path, "1")
    model.poll()
    add(tmp_path, "2")
    with model.use() as servable:
        thread = threading.Thread(target=model.poll)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert servable.version == 1
        assert events == ["load 1", "load 2"]
        with model.use() as newer:
            assert newer.version == 2
    thread.join(10)
    assert events == ["load 1", "load 2", "unload 1"]


def run_main(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    return server_main.main(["--model_name=m", "--host=127.0.0.1", *flags])


def test_model_that_does_not_load_ends_the_process_with_status_3_and_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (add(tmp_path, "5") / "saved_model.pb").write_bytes(b"broken")
    flags = ("--port_file", str(tmp_path / "ports.json"), "--port=0", "--max_num_load_retries=0")
    status = run_main(monkeypatch, f"--model_base_path={tmp_path / 'base'}", *flags)
    assert status == 3
    assert capfd.readouterr().err.splitlines()[-1].startswith("model m version 5: Cannot parse file")
    assert not (tmp_path / "ports.json").exists()


def test_taken_port_ends_the_process_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status = run_main(monkeypatch, f"--model_base_path={tmp_path}", f"--port={port}")
    assert status == 1
    assert f"the server could not start: cannot listen on gRPC port {port}" in capfd.readouterr().err
