"""The models that are served, and server processes that serve them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.contract.models import ModelsOnDisk, write_models
from tests.serving.processes import RunningServer, serving


@pytest.fixture(scope="session")
def models_on_disk(tmp_path_factory: pytest.TempPathFactory) -> ModelsOnDisk:
    """The models of the contract suite; read only."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def toy_path(models_on_disk: ModelsOnDisk) -> Path:
    """The SavedModel of `toy`, version 1; read only."""
    return models_on_disk.folder / "toy" / "1"


@pytest.fixture(scope="session")
def own_process(request: pytest.FixtureRequest) -> None:
    """Skips a test where --serving-address names a server that somebody else runs."""
    if request.config.getoption("--serving-address"):
        pytest.skip("needs a server of its own: its flags, its files, its process")


@pytest.fixture
def start_server(own_process: None, tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers of our own with the flags given; they end with the test."""
    with contextlib.ExitStack() as stack:
        count = iter(range(100))

        def start(*flags: str) -> RunningServer:
            return stack.enter_context(serving(tmp_path / f"server{next(count)}", *flags))

        yield start


@pytest.fixture(scope="module")
def server(
    own_process: None, toy_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server of version 1 of `toy`, for tests that only ask."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(toy_path, folder / "toy" / "1")
    with serving(folder, "--model_name=toy", f"--model_base_path={folder / 'toy'}") as running:
        yield running
