"""How a server process starts, takes up new versions, and gets another configuration."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving import processes
from tests.serving.calls import (
    offset,
    predict_request,
    prediction_stub,
    reload,
    rest,
    version_error,
    version_states,
)
from tests.serving.contract.models import save_toy
from tests.serving.processes import RunningServer, wait_until

SMALL = ("serving_default", "arithmetic")


@pytest.fixture
def launch(own_process: None, tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts a process that need not come up; it ends with the test."""
    started = []

    def start(*flags: str) -> RunningServer:
        started.append(processes.launch(tmp_path / f"server{len(started)}", *flags))
        return started[-1]

    yield start
    for server in started:
        processes.kill(server)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    return tmp_path / "toy"


def add(base: Path, version: int, **more: Any) -> Path:
    """A small toy; it answers with its version."""
    return save_toy(base / str(version), offset=float(version), signatures=SMALL, **more)


def write_warmup(folder: Path, *requests: Any) -> None:
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log={"request": request})
            writer.write(log.SerializeToString())


def has_warm_up_that_fails(folder: Path) -> None:
    write_warmup(folder, predict_request("arithmetic", x=[[1.0]]))


def has_other_bytes_in_its_variables(folder: Path) -> None:
    path = folder / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def has_no_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def has_half_a_graph(folder: Path) -> None:
    path = folder / "saved_model.pb"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


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
    """It is copied in place, file by file, the largest in pieces; its state says what is missing."""
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
    writing, data = f"{target} is still being written", "variables/variables.data-00000-of-00001"
    assert [error.partition(" in /")[0].partition(": ")[0] for _, error in said] == [
        writing,  # half a graph cannot say whether it needs variables
        "variables/variables.index is missing",
        "variables/variables.index is cut off or damaged",
        f"{data} is missing",
        f"{data} has {said[4][1].split()[2]} of at least {said[4][1].split()[-2]} bytes",
        writing,
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


def test_v7_ports_open_when_every_model_is_available_and_an_empty_base_path_is_waited_for(
    tmp_path: Path, launch: Callable[..., RunningServer]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    add(tmp_path / "a", 1)
    port = free_port()
    server = launch(
        f"--model_config_file={write_config(tmp_path, 'a', 'b')}",
        f"--rest_api_port={port}",
        "--file_system_poll_wait_seconds=0.1",
    )
    wait_until(lambda: "a version 1 is available" in server.log.read_text())
    time.sleep(0.5)
    assert server.process.poll() is None
    ports = server.log.parent / "ports.json"
    assert not ports.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    add(tmp_path / "b", 7)
    wait_until(ports.exists)
    server.rest_port = port
    assert (offset(server, "a"), offset(server, "b")) == (1.0, 7.0)


def test_v7_model_that_does_not_load_ends_the_process_which_says_which(
    base: Path, launch: Callable[..., RunningServer]
) -> None:
    add(base, 5)
    has_other_bytes_in_its_variables(base / "5")
    flags = ("--file_system_poll_wait_seconds=0", "--load_retry_interval_micros=100000")
    server = launch("--model_name=toy", f"--model_base_path={base}", "--max_num_load_retries=1", *flags)
    assert server.process.wait(120) == 3
    lines = server.log.read_text().splitlines()
    assert lines[-1].startswith(f"model toy version 5: TensorBundle at {base}/5/variables/variables shard 0")
    assert "Checksum does not match" in lines[-1]
    assert sum("loading toy version 5" in line for line in lines) == 2
    assert not (server.log.parent / "ports.json").exists()


def test_v3_zero_looks_once_and_negative_never(base: Path, launch: Callable[..., RunningServer]) -> None:
    add(base, 1)
    flags = ("--model_name=toy", f"--model_base_path={base}")
    once = launch(*flags, "--file_system_poll_wait_seconds=0")
    never = launch(*flags, "--file_system_poll_wait_seconds=-1")
    ports = once.log.parent / "ports.json"
    wait_until(ports.exists)
    processes.read_ports(once)
    add(base, 2)
    time.sleep(1.5)
    assert version_states(once) == {1: "AVAILABLE"}
    assert never.process.poll() is None
    assert "loading" not in never.log.read_text()
    never.process.send_signal(signal.SIGTERM)
    assert never.process.wait(30) == 0


def test_v9_reload_over_grpc_is_whole_or_not_at_all(
    tmp_path: Path, start_server: Callable[..., RunningServer]
) -> None:
    """V9, V10."""
    for name, version in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        add(tmp_path / name, version)
    server = start_server("--model_name=a", f"--model_base_path={tmp_path / 'a'}")

    def model(name: str, more: str = "") -> str:
        return (
            f'config {{ name: "{name}" base_path: "{tmp_path}/{name}" model_platform: "tensorflow" {more} }}'
        )

    reload(server, model("b", 'version_labels { key: "stable" value: 2 }'))
    assert offset(server, "b") == 2.0
    assert rest(server, "/v1/models/b/labels/stable:predict", {"instances": ["hi"]})[0] == 200
    assert rest(server, "/v1/models/a:predict", {"instances": ["hi"]})[0] == 404
    with pytest.raises(grpc.RpcError) as error:
        reload(server, model("a") + model("b", 'version_labels { key: "stable" value: 3 }'))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.value.details() == (
        "Request to assign label to version 3 of model b, which is not currently available for inference"
    )
    assert offset(server, "b") == 2.0
    assert rest(server, "/v1/models/b/labels/stable:predict", {"instances": ["hi"]})[0] == 200
    assert rest(server, "/v1/models/a:predict", {"instances": ["hi"]})[0] == 404


def test_v11_models_config_is_looked_at_again_and_a_bad_one_changes_nothing(
    tmp_path: Path, start_server: Callable[..., RunningServer]
) -> None:
    for name, version in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        add(tmp_path / name, version)
    config = write_config(tmp_path, "a")
    server = start_server(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.2")
    config.write_text("model_config_list { config { nmae: 'b' } }")
    wait_until(lambda: "the old configuration stays" in server.log.read_text())
    assert "Did you mean name?" in server.log.read_text()
    assert offset(server, "a") == 1.0
    write_config(tmp_path, "a", "b")
    wait_until(lambda: version_states(server, "b") == {2: "AVAILABLE"})
    assert (offset(server, "a"), offset(server, "b")) == (1.0, 2.0)


def test_a_server_that_cannot_start_says_why_in_its_last_line(
    base: Path, tmp_path: Path, launch: Callable[..., RunningServer]
) -> None:
    bad = tmp_path / "models.config"
    bad.write_text("model_config_list { config { name: 'b' base_path: 'b' model_platform: 'tensorflow' } }")
    add(base, 1)
    label = tmp_path / "label.config"
    entry = (
        f'name: "toy" base_path: "{base}" model_platform: "tensorflow" version_labels {{ key: "x" value: 9 }}'
    )
    label.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            (
                launch(f"--model_base_path={base}", f"--port={port}"),
                1,
                f"the server could not start: cannot listen on gRPC port {port}: Address already in use",
            ),
            (
                launch(f"--model_config_file={bad}"),
                1,
                "the server could not start: Expected model b to have an absolute path or URI; got base_path()=b",
            ),
            (
                launch(f"--model_config_file={label}"),
                1,
                "the server could not start: Request to assign label to version 9 of model toy, which is not "
                "currently available for inference",
            ),
            (
                launch(f"--model_base_path={base}", "--modle_name=x"),
                2,
                "serving.model_server: unknown flag --modle_name; did you mean --model_name?; --help lists the flags",
            ),
        ]
        for server, status, line in cases:
            assert server.process.wait(60) == status
            assert server.log.read_text().splitlines()[-1] == line


def test_grpc_answers_on_a_unix_socket_too_and_takes_channel_arguments(
    base: Path, tmp_path: Path, start_server: Callable[..., RunningServer]
) -> None:
    add(base, 1)
    socket_path = f"unix:{tmp_path / 'grpc.socket'}"
    server = start_server(
        "--model_name=toy",
        f"--model_base_path={base}",
        f"--grpc_socket_path={tmp_path / 'grpc.socket'}",
        "--grpc_channel_arguments=grpc.max_receive_message_length=1000",
        "--grpc_max_threads=3",
    )
    for address in (socket_path, server.grpc_address):
        with grpc.insecure_channel(address) as channel:
            stub = prediction_stub(channel)
            response = stub.Predict(predict_request("serving_default", text=["hi"]), timeout=20)
            assert response.model_spec.version.value == 1
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(predict_request("serving_default", text=["x" * 2000]), timeout=20)
            assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "without effect here: --grpc_max_threads" in server.log.read_text()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def write_config(folder: Path, *names: str) -> Path:
    """Of models that lie in folders of their names."""
    entry = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" }}'
    path = folder / "models.config"
    text = " ".join(entry.format(name, folder) for name in names)
    (folder / "new.config").write_text(f"model_config_list {{ {text} }}")
    (folder / "new.config").rename(path)
    return path
