"""The load generator tells the truth: waiting is counted from the intended moment, errors by their code."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tensorflow_serving.apis import predict_pb2

from tests.benchmarks import bench_serving
from tests.benchmarks.load import bodies, table
from tests.benchmarks.load.plan import Plan, Result, merge, percentile, read_bodies, write_bodies
from tests.benchmarks.load.processes import LoadGenerator
from tests.benchmarks.load.targets import Load
from tests.serving.soak.models import save_echo

_BUSY_SECONDS = 0.02


class OneAtATime(BaseHTTPRequestHandler):
    """Takes 20 ms for each request, one after another: 50 a second at most."""

    protocol_version = "HTTP/1.1"
    turn = threading.Lock()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.turn:
            time.sleep(_BUSY_SECONDS)
        chunked = self.path == "/chunks"
        with contextlib.suppress(ConnectionError):  # of a client that did not wait
            self.send_response(503 if self.path == "/full" else 200)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "2")))
            self.end_headers()
            self.wfile.write(b"2\r\n{}\r\n0\r\n\r\n" if chunked else b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OneAtATime) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def generator() -> Iterator[LoadGenerator]:
    with LoadGenerator() as running:
        yield running


@pytest.fixture(scope="module")
def bodies_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bodies([b"{}", b"[1]"], tmp_path_factory.mktemp("bodies") / "bodies"))


def test_a_closed_loop_waits_for_each_answer(
    generator: LoadGenerator, address: str, bodies_path: str
) -> None:
    plan = Plan("rest", address, "/ok", bodies_path, clients=1, seconds=1.0, warmup_seconds=0.1)
    result = generator.run(plan)
    assert result.codes.keys() == {"OK"}
    assert 1 < result.ok <= 50
    assert len(result.latencies) == result.ok
    assert result.latencies[0] >= 1e3 * _BUSY_SECONDS
    assert sum(result.ok_by_second) == result.ok


def test_an_open_loop_charges_the_server_for_those_who_wait(
    generator: LoadGenerator, address: str, bodies_path: str
) -> None:
    """100 a second come and 50 go: after a second, the last to come waits for about half a second."""
    plan = Plan("rest", address, "/ok", bodies_path, clients=64, rate=100, seconds=1.0, warmup_seconds=0.0)
    result = generator.run(plan)
    assert 60 < result.answers < 150
    assert percentile(result.latencies, 99) > 10e3 * _BUSY_SECONDS
    assert result.late_p99_ms < percentile(result.latencies, 99) / 2


def test_an_open_loop_with_too_few_connections_counts_the_wait_for_one(
    generator: LoadGenerator, address: str, bodies_path: str
) -> None:
    """Else a slow server would be asked less, and look better: coordinated omission."""
    plan = Plan("rest", address, "/ok", bodies_path, clients=1, rate=100, seconds=1.0, warmup_seconds=0.0)
    result = generator.run(plan)
    assert 60 < result.answers < 150
    assert percentile(result.latencies, 99) > 10e3 * _BUSY_SECONDS


@pytest.mark.parametrize(("path", "code"), [("/full", "503"), ("/chunks", "OK")])
def test_answers_are_counted_by_code(
    generator: LoadGenerator, address: str, bodies_path: str, path: str, code: str
) -> None:
    result = generator.run(Plan("rest", address, path, bodies_path, clients=2, seconds=0.3))
    assert result.codes.keys() == {code}
    assert len(result.failure_latencies) == result.answers - result.ok


def test_a_request_that_takes_too_long_is_a_timeout(
    generator: LoadGenerator, address: str, bodies_path: str
) -> None:
    plan = Plan("rest", address, "/ok", bodies_path, timeout_seconds=_BUSY_SECONDS / 4, seconds=1.0)
    assert generator.run(plan).codes.keys() == {"TIMEOUT"}


@pytest.mark.parametrize(("protocol", "code"), [("rest", "CONNECTION"), ("grpc", "UNAVAILABLE")])
def test_a_server_that_is_not_there_is_an_error_by_name(
    generator: LoadGenerator, bodies_path: str, protocol: str, code: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    plan = Plan(protocol, address, "/a.b/c", bodies_path, rate=20, seconds=0.5, warmup_seconds=0.0)
    assert generator.run(plan).codes.keys() == {code}


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(1, 201)]
    assert [percentile(values, p) for p in (50, 99, 99.9, 100)] == [100.0, 198.0, 200.0, 200.0]
    assert math.isnan(percentile([], 50))


def test_rounds_are_put_together() -> None:
    rounds = [Result(2.0, {"OK": 2}, [1.0, 3.0]), Result(2.0, {"OK": 1, "503": 1}, [2.0], [9.0])]
    merged = merge(rounds)
    assert merged.codes == {"OK": 3, "503": 1}
    assert merged.latencies == [1.0, 2.0, 3.0]
    assert merged.errors == {"503": 1}


def test_bodies_survive_the_file(tmp_path: Path) -> None:
    assert read_bodies(str(write_bodies([b"\x00\n", b""], tmp_path / "b"))) == [b"\x00\n", b""]


def test_requests_carry_one_text() -> None:
    assert bodies.json_bodies(["a", "ü"]) == [b'{"instances": ["a"]}', b'{"instances": ["\\u00fc"]}']
    request = predict_pb2.PredictRequest.FromString(
        bodies.proto_bodies(["a"], model="m", alias="text", version=3)[0]
    )
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 3)
    assert request.inputs["text"].string_val == [b"a"]


def test_the_table_has_a_row_for_each_server_and_load() -> None:
    rounds = [
        Result(2.0, {"OK": 20}, [10.0] * 20, server_cpu_seconds=0.1, generator_cpu_seconds=0.002),
        Result(2.0, {"OK": 30, "503": 10}, [20.0] * 30, [1.0] * 10, 0.0, 0.004, 0.2),
    ]
    cell = table.Cell("ours REST", Load(8, 2.0), rounds, memory_mb=700.4, peak_memory_mb=812.6)
    assert table.markdown([cell]).splitlines()[-1] == (
        "| ours REST | 8 clients | 12.5 (10–15) | 20.0 | 20.0 | 20.0 | 10 503 | 5.00 | 0.10 | 813 |"
    )
    bare = table.Cell("bare call", Load(8, 2.0), [Result(2.0, {"OK": 50}, [5.0] * 50, (), 0, 0, 0.2)], 1, 1)
    assert table.comparison([cell, bare], base="bare call").splitlines()[2:] == [
        "| ours REST | 8 | 0.50 | 4.00 | 4.00 | +1.00 |"
    ]


def test_our_server_and_the_bare_model_are_measured_in_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_echo(tmp_path / "echo" / "1")
    arguments = [str(tmp_path / "echo"), "--bare", "--bare-rows", "1", "--results", str(tmp_path / "r.jsonl")]
    arguments += ["--clients", "2", "--rates", "20", "--rounds", "1", "--seconds", "0.5"]
    bench_serving.main(arguments)
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(line["target"], line["rate"]) for line in lines] == [
        ("ours gRPC", 0.0),
        ("ours gRPC", 20.0),
        ("ours REST", 0.0),
        ("ours REST", 20.0),
        ("bare call", 0.0),
    ]
    assert all(line["requests"] > 0 and not line["errors"] for line in lines)
    assert all(line["peak_memory_mb"] > 50 for line in lines)
    assert all(line["server_cpu_ms"] > 0 for line in lines if not line["rate"])  # else under a tick in all
    assert capsys.readouterr().out.count("\n| ") == 6
