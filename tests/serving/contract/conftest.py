"""The server that the contract suite asks: a process of ours, or the one at --serving-address."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import grpc
import pytest
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tests.serving.contract.models import ModelsOnDisk
from tests.serving.contract.rest_calls import Rest
from tests.serving.processes import serving


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the models of `models.py` are served."""

    grpc_address: str
    rest_address: str
    """host:port, without a scheme."""

    is_ours: bool


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test; nothing in the suite changes its state."""
    address = request.config.getoption("--serving-address")
    if address:
        yield Target(*parse_address(address), is_ours=False)
        return
    models: ModelsOnDisk = request.getfixturevalue("models_on_disk")
    with serving(tmp_path_factory.mktemp("target"), f"--model_config_file={models.config}") as server:
        yield Target(server.grpc_address, server.rest_address, is_ours=True)


def parse_address(text: str) -> tuple[str, str]:
    """Splits `host:8500,host:8501`."""
    parts = text.split(",")
    if len(parts) != 2 or not all(":" in part for part in parts):
        raise pytest.UsageError(f"--serving-address {text}: give HOST:GRPC_PORT,HOST:REST_PORT")
    return parts[0], parts[1]


@pytest.fixture(autouse=True)
def _ours_only(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("ours") and request.config.getoption("--serving-address"):
        pytest.skip("the embedded server is stricter here than TF Serving, or does more")


@pytest.fixture(scope="session")
def channel(target: Target) -> Iterator[grpc.Channel]:
    """A channel to the server under test."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target.grpc_address, options=options) as channel:
        yield channel


@pytest.fixture(scope="session")
def prediction_service(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def model_service(channel: grpc.Channel) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="session")
def rest(target: Target) -> Rest:
    """REST of the server under test."""
    return Rest(target.rest_address)
