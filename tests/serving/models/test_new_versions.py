"""How a server process takes up versions while it serves, and what it makes of bad ones."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.serving import processes
from tests.serving.calls import offset, predict_request, prediction_stub, rest, version_error, version_states
from tests.serving.contract.toy import save_toy
from tests.serving.processes import RunningServer, wait_until
from tests.serving.toys import (
    SMALL,
    add,
    has_half_a_graph,
    has_no_variables,
    has_other_bytes_in_its_variables,
    has_warm_up_that_fails,
)


@pytest.fixture(scope="module")
def shared_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("shared") / "toy"
    base.mkdir()
    add(base, 1)
    return base


@pytest.fixture(scope="module")
def shared(
    own_process: None, shared_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server whose versions come and go."""
    flags = (
        "--model_name=toy",
        f"--model_base_path={shared_base}",
        "--file_system_poll_wait_seconds=0.1",
        "--max_num_load_retries=0",
    )
    with processes.serving(tmp_path_factory.mktemp("server"), *flags) as server:
        yield server


def test_v4_versions_change_without_a_failed_or_a_backward_answer(
    base: Path, start_server: Callable[..., RunningServer]
) -> None:
    """V3, V4: looked for each 0.1 s here; a serial client sees versions grow, over both protocols."""
    add(base, 1)
    server = start_server(
        "--model_name=toy", f"--model_base_path={base}", "--file_system_poll_wait_seconds=0.1"
    )
    stop = threading.Event()
    seen: dict[str, list[float]] = {"rest": [], "grpc": []}

    def ask_rest() -> None:
        while not stop.is_set():
            seen["rest"].append(offset(server))

    def ask_grpc() -> None:
        request = predict_request("arithmetic", x=[[0.0]], n=[0])
        with grpc.insecure_channel(server.grpc_address) as channel:
            stub = prediction_stub(channel)
            while not stop.is_set():
                response = stub.Predict(request, timeout=60)
                assert response.outputs["y"].float_val[0] == response.model_spec.version.value
                seen["grpc"].append(response.outputs["y"].float_val[0])

    threads = [threading.Thread(target=ask) for ask in (ask_rest, ask_grpc)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        pushed = time.monotonic()
        add(base, version)
        wait_until(lambda version=version: all(v and v[-1] == version for v in seen.values()))
        assert time.monotonic() - pushed < 30
    stop.set()
    for thread in threads:
        thread.join()
    for offsets in seen.values():
        assert offsets == sorted(offsets)
        assert set(offsets) == {1.0, 2.0, 3.0, 4.0}
    wait_until(lambda: version_states(server)[3] == "END")
    assert version_states(server) == {4: "AVAILABLE", 3: "END", 2: "END", 1: "END"}


@pytest.mark.parametrize(
    ("change", "state", "error"),
    [
        (has_half_a_graph, "END", "Cannot parse file"),
        (has_other_bytes_in_its_variables, "END", "Checksum does not match"),
        (has_no_variables, "END", "variables/variables.index is missing in "),
        (
            has_warm_up_that_fails,
            "END",
            "warm-up request 1 failed: INVALID_ARGUMENT: input size does not match signature",
        ),
    ],
)
def test_v6_w1_bad_version_is_never_served_and_its_state_says_why(
    shared: RunningServer, shared_base: Path, change: Callable[[Path], None], state: str, error: str
) -> None:
    """V6, V8, W1: the old one keeps answering."""
    number = max(version_states(shared)) + 1
    before = offset(shared)
    aside = save_toy(shared_base / f"{number}.changed", offset=float(number), signatures=SMALL)
    change(aside)
    aside.rename(shared_base / str(number))
    wait_until(lambda: version_states(shared).get(number) == state)
    assert error in version_error(shared, number)
    assert offset(shared) == before
    assert "\n" not in version_error(shared, number)
    shutil.rmtree(shared_base / str(number))


def test_version_that_is_copied_in_slowly_is_served_when_it_is_whole(
    shared: RunningServer, shared_base: Path, tmp_path: Path
) -> None:
    """It is copied in place, file by file, in pieces; its state says why it is not served."""
    number = max(version_states(shared)) + 1
    before = offset(shared)
    source = save_toy(tmp_path / "source", offset=float(number), signatures=SMALL)
    target = shared_base / str(number)
    (target / "variables").mkdir(parents=True)
    names = ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
    said = []
    for name in names:
        data = (source / name).read_bytes()
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            with open(target / name, "ab") as file:
                file.write(piece)
            time.sleep(0.4)
            assert offset(shared) == before
            said.append((version_states(shared)[number], version_error(shared, number)))
    assert {state for state, _ in said} == {"START"}
    writing = f"{target} is still being written"
    assert [error.partition(" in /")[0] for _, error in said] == [
        writing,  # half a graph cannot say whether it needs variables
        "variables/variables.index is missing",
        *[writing] * 4,
    ]
    wait_until(lambda: offset(shared) == number)


def test_v5_emptied_base_path_unloads_all_and_readiness_turns_off(
    shared: RunningServer, shared_base: Path, tmp_path: Path
) -> None:
    assert rest(shared, "/readyz") == (200, "ready\n")
    number = max(v for v, state in version_states(shared).items() if state == "AVAILABLE")
    for folder in list(shared_base.iterdir()):
        folder.rename(tmp_path / folder.name)
    wait_until(lambda: version_states(shared)[number] == "END")
    assert rest(shared, "/readyz") == (503, "a model has no version that is available\n")
    assert rest(shared, "/livez") == (200, "ok\n")
    assert rest(shared, "/v1/models/toy:predict", {"instances": ["hi"]}) == (
        404,
        {"error": "Servable not found for request: Latest(toy)"},
    )
    (tmp_path / str(number)).rename(shared_base / str(number))
    wait_until(lambda: rest(shared, "/readyz")[0] == 200)
    assert offset(shared) == number
