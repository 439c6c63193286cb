"""Ten times what the server can do: it does nearly as much as it can, and refuses the rest in words."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.benchmarks.load.plan import Plan, Result, percentile, write_bodies
from tests.benchmarks.load.processes import LoadGenerator
from tests.serving.processes import RunningServer
from tests.serving.soak.callers import Caller, GrpcCaller, RestCaller
from tests.serving.soak.clock import FOREVER, turns_for
from tests.serving.soak.models import copy_version, save_clock

_PATHS = {"grpc": "/tensorflow.serving.PredictionService/Predict", "rest": "/v1/models/model:predict"}
# What may be said to a client under overload: HTTP's names of RESOURCE_EXHAUSTED and UNAVAILABLE among them.
_ALLOWED = {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "429", "503"}
# Small, so that what is let in is answered soon: 8 batches are half a second of a model of 60 ms a batch.
_QUEUE = {"max_batch_size": 4, "max_enqueued_batches": 4, "num_batch_threads": 1}
_PEAK_CLIENTS = 4
_TIMES = 10

Inputs = dict[str, list[Any]]


def overload(
    server: RunningServer,
    generator: LoadGenerator,
    *,
    inputs: Inputs,
    seconds: float,
    folder: Path,
    protocol: str = "grpc",
) -> dict[str, Any]:
    """Measures the peak, lets ten times as many requests arrive, and then looks how soon all is well again.

    Args:
        server: serves `model`, with `_QUEUE`.
        generator: makes the load.
        inputs: of every request.
        seconds: of overload.
        folder: for the request.
        protocol: grpc or rest.
    """
    is_grpc = protocol == "grpc"
    body = _grpc_body(inputs) if is_grpc else json.dumps({"inputs": inputs}).encode()
    plan: dict[str, Any] = {
        "protocol": protocol,
        "address": server.grpc_address if is_grpc else server.rest_address,
        "path": _PATHS[protocol],
        "bodies_path": str(write_bodies([body], folder / "bodies")),
        "pid": server.process.pid,
    }
    peak = generator.run(Plan(**plan, clients=_PEAK_CLIENTS, seconds=max(seconds / 6, 2.0)))
    assert not peak.errors, f"these are no peak: {peak.errors}"
    quiet = generator.run(Plan(**plan, clients=1, seconds=max(seconds / 12, 1.0)))
    capacity = peak.ok / peak.seconds
    storm = Plan(**plan, clients=64, rate=_TIMES * capacity, seconds=seconds, warmup_seconds=0.5)
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(generator.run(storm)))
    thread.start()
    time.sleep(storm.warmup_seconds + storm.seconds)
    caller = GrpcCaller(server) if is_grpc else RestCaller(server)
    back_seconds = seconds_until_quick(caller, inputs, limit_ms=2 * percentile(quiet.latencies, 99))
    caller.close()
    thread.join()
    return figures(results[0], capacity=capacity) | {"back_seconds": round(back_seconds, 2)}


def _grpc_body(inputs: Inputs) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    for name, values in inputs.items():
        dtype = tf.float64 if isinstance(values[0], float) else None
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype=dtype))
    return request.SerializeToString()


def seconds_until_quick(caller: Caller, inputs: Inputs, *, limit_ms: float) -> float:
    """Time until the first of three calls in a row that are OK and take no longer than `limit_ms`; at most 20."""
    begin, quick = time.monotonic(), []
    while len(quick) < 3:
        answer = caller.call("model", inputs)
        quick = [*quick, answer] if answer.code == "OK" and answer.ms <= limit_ms else []
        if time.monotonic() > begin + 20:
            return 20.0
        time.sleep(0.02)
    return quick[0].end - begin


def figures(result: Result, *, capacity: float) -> dict[str, Any]:
    goodput = sum(result.ok_by_second) / result.seconds
    return {
        "peak_per_second": round(capacity, 1),
        "offered_per_second": round(result.answers / result.seconds, 1),
        "codes": dict(result.codes),
        "goodput_per_second": round(goodput, 1),
        "goodput_of_peak": round(goodput / capacity, 2),
        "ok_p50_ms": round(percentile(result.latencies, 50), 1),
        "ok_p99_ms": round(percentile(result.latencies, 99), 1),
        "refusal_p99_ms": round(percentile(result.failure_latencies, 99), 1),
        "generator_late_p99_ms": round(result.late_p99_ms, 1),
        "server_cpu": round(result.server_cpu_seconds / result.seconds, 2),
        "generator_cpu": round(result.generator_cpu_seconds / result.seconds, 2),
    }


@pytest.fixture(scope="module")
def generator() -> Iterator[LoadGenerator]:
    with LoadGenerator() as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path, start_server: Any, batching_flags: Any) -> Callable[[], RunningServer]:
    """Starts a server over tmp_path/model."""
    place = ("--model_name=model", f"--model_base_path={tmp_path / 'model'}")
    return lambda: start_server(*place, *batching_flags(**_QUEUE))


def test_overload_is_refused_in_words(
    tmp_path: Path, serve: Any, generator: LoadGenerator, report: Callable[..., None]
) -> None:
    save_clock(tmp_path / "model" / "1")
    server = serve()
    inputs = {"deadline": [FOREVER], "turns": [turns_for(server, seconds=0.03)]}
    found = overload(server, generator, inputs=inputs, seconds=2.0, folder=tmp_path)
    report(**found)
    assert set(found["codes"]) <= _ALLOWED
    assert found["codes"]["OK"] > 0
    assert found["codes"].keys() - {"OK"}, "nothing was refused: that was no overload"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "protocol"), [("clock", "grpc"), ("real", "grpc"), ("real", "rest")])
def test_60_seconds_of_ten_times_the_capacity(
    tmp_path: Path,
    serve: Any,
    generator: LoadGenerator,
    report: Callable[..., None],
    request: pytest.FixtureRequest,
    kind: str,
    protocol: str,
) -> None:
    if kind == "real":
        copy_version(request.getfixturevalue("real_model"), tmp_path / "model" / "1")
        server = serve()
        # Four texts a request: at one, the load itself would take most of a small machine.
        inputs: Inputs = {"text": request.getfixturevalue("texts")[:4]}
    else:
        save_clock(tmp_path / "model" / "1")
        server = serve()
        inputs = {"deadline": [FOREVER], "turns": [turns_for(server, seconds=0.05)]}
    found = overload(server, generator, inputs=inputs, seconds=60.0, folder=tmp_path, protocol=protocol)
    report(**found)
    assert set(found["codes"]) <= _ALLOWED
    assert found["goodput_of_peak"] >= 0.8
    assert found["back_seconds"] <= 2
