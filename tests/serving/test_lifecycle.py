"""How a server process starts: when it opens its ports, and what it says when it cannot."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.serving import processes
from tests.serving.calls import offset, predict_request, prediction_stub, version_states
from tests.serving.processes import RunningServer, free_ports, wait_until
from tests.serving.toys import add, has_other_bytes_in_its_variables, write_config


def test_v7_ports_open_when_every_model_is_available_and_an_empty_base_path_is_waited_for(
    tmp_path: Path, launch: Callable[..., RunningServer]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    add(tmp_path / "a", 1)
    (port,) = free_ports(1)
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
