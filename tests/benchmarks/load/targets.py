"""What is measured: our server over both protocols, FastAPI over the same weights, any address, the bare call."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.load import bodies
from tests.benchmarks.load.plan import Plan, Result, write_bodies
from tests.benchmarks.load.processes import BareModel, HttpServerProcess, LoadGenerator
from tests.serving.processes import serving

_PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclasses.dataclass(frozen=True)
class Load:
    """How hard a target is asked."""

    clients: int
    seconds: float
    rate: float = 0.0
    """Arrivals a second; 0 is a closed loop."""

    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Target:
    """A server, and the requests it takes."""

    name: str
    generator: LoadGenerator
    plan: Plan
    """Without the load."""

    @property
    def pid(self) -> int:
        return self.plan.pid

    def measure(self, load: Load) -> Result:
        """Puts the load on it."""
        return self.generator.run(
            dataclasses.replace(
                self.plan, clients=load.clients, seconds=load.seconds, rate=load.rate, seed=load.seed
            )
        )


@dataclasses.dataclass(frozen=True)
class BareTarget:
    """The model called by threads; a client is a thread, a request one text, and latency that of a call."""

    name: str
    model: BareModel
    rows: int = 1

    @property
    def pid(self) -> int:
        return self.model.process.pid

    def measure(self, load: Load) -> Result | None:
        """Calls it; None for an open loop, which there is none of."""
        if load.rate:
            return None
        return self.model.run(threads=load.clients, rows=self.rows, seconds=load.seconds)


@dataclasses.dataclass(frozen=True)
class Workplace:
    """What all targets share."""

    generator: LoadGenerator
    texts: Sequence[str]
    folder: Path
    """For bodies and logs."""


def at_address(place: Workplace, *, name: str, addresses: str, model: str, pid: int = 0) -> list[Target]:
    """A server that runs already, over both protocols.

    Args:
        place: shared.
        name: for the table.
        addresses: `host:8500,host:8501`.
        model: name under which it is asked for.
        pid: of the server, for its processor time and memory; 0: unknown.
    """
    grpc_address, _, rest_address = addresses.partition(",")
    alias = text_input(rest_address, model=model)
    protos = bodies.proto_bodies(place.texts, model=model, alias=alias)
    by_grpc = write_bodies(protos, place.folder / f"{name}.grpc".replace(" ", "_"))
    by_rest = write_bodies(bodies.json_bodies(place.texts), place.folder / f"{name}.rest".replace(" ", "_"))
    return [
        Target(f"{name} gRPC", place.generator, Plan("grpc", grpc_address, _PREDICT, str(by_grpc), pid=pid)),
        Target(
            f"{name} REST",
            place.generator,
            Plan("rest", rest_address, f"/v1/models/{model}:predict", str(by_rest), pid=pid),
        ),
    ]


def text_input(rest_address: str, *, model: str) -> str:
    """The one input of a model's default signature.

    Raises:
        SystemExit: it has several.
    """
    with urllib.request.urlopen(f"http://{rest_address}/v1/models/{model}/metadata", timeout=10) as reply:
        metadata = json.load(reply)["metadata"]["signature_def"]["signature_def"]
    inputs = list(metadata["serving_default"]["inputs"])
    if len(inputs) != 1:
        raise SystemExit(f"{model} takes {sorted(inputs)}; the load test needs a model of one text")
    return inputs[0]


@contextlib.contextmanager
def ours(place: Workplace, *, name: str, base_path: Path, flags: Sequence[str]) -> Iterator[list[Target]]:
    """The embedded server over a pushed model."""
    model = base_path.name
    command = (f"--model_name={model}", f"--model_base_path={base_path}", *flags)
    with serving(place.folder / name.replace(" ", "_"), *command) as server:
        addresses = f"{server.grpc_address},{server.rest_address}"
        yield at_address(place, name=name, addresses=addresses, model=model, pid=server.process.pid)


@dataclasses.dataclass(frozen=True)
class Peers:
    """FastAPI servers over the same weights."""

    folder: Path
    """With serve_app.py."""

    python: str
    home: Path
    """Holds the fine-tuned checkpoint (sst2/) and its exports (onnx/)."""

    threads: int = 2


@contextlib.contextmanager
def fastapi(place: Workplace, *, backend: str, peers: Peers) -> Iterator[list[Target]]:
    """One FastAPI server under uvicorn: backend ort_fp32, ort_int8 or pipeline (transformers)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [peers.python, "-m", "uvicorn", "serve_app:app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--log-level", "warning", "--no-access-log"]
    env = os.environ | {"PEER_BACKEND": backend, "PEER_THREADS": str(peers.threads)}
    env |= {"PEER_HOME": str(peers.home.absolute()), "TOKENIZERS_PARALLELISM": "false"}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("PYTHONPATH", None)
    server = HttpServerProcess(
        command,
        env=env,
        cwd=peers.folder,
        ready_url=f"http://127.0.0.1:{port}/healthz",
        log_path=place.folder / f"fastapi_{backend}.log",
    )
    body_path = write_bodies(bodies.json_bodies(place.texts), place.folder / f"fastapi_{backend}.bodies")
    plan = Plan("rest", f"127.0.0.1:{port}", "/predict", str(body_path), pid=server.process.pid)
    try:
        yield [Target(f"FastAPI {backend}", place.generator, plan)]
    finally:
        server.stop()


@contextlib.contextmanager
def bare(place: Workplace, *, base_path: Path, rows: Sequence[int]) -> Iterator[list[BareTarget]]:
    """The newest version under a base path, called without a server."""
    version = max((path for path in base_path.iterdir() if path.name.isdigit()), key=lambda p: int(p.name))
    texts_path = place.folder / "texts.json"
    texts_path.write_text(json.dumps(list(place.texts)))
    with BareModel(version, texts_path) as model:
        names = {count: "bare call" + (f", texts by {count}" if count > 1 else "") for count in rows}
        yield [BareTarget(name, model, count) for count, name in names.items()]
