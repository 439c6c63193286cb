"""The models that are served, server processes that serve them, and the parts of a server by themselves."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.model_server.api import Models
from serving.model_server.batching.scheduler import Scheduler
from serving.model_server.config.settings import BatchingParameters, ModelSettings, VersionPolicy
from serving.model_server.models.manager import Manager, ManagerOptions
from serving.model_server.models.servable import Servable
from serving.model_server.models.versions import LoadPolicy, ServedModel
from serving.model_server.observe.request_log import RequestLog
from tests.serving import processes
from tests.serving.batching.schedulers import MakeScheduler
from tests.serving.contract.models import ModelsOnDisk, write_models
from tests.serving.fakes import LOAD_AT_ONCE, FakeServable
from tests.serving.managers import Config
from tests.serving.processes import RunningServer, serving
from tests.serving.request_logs import settings
from tests.serving.rest_connection import OneModel


@pytest.fixture(scope="session")
def models_on_disk(tmp_path_factory: pytest.TempPathFactory) -> ModelsOnDisk:
    """The models of the contract suite; read only."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def toy_path(models_on_disk: ModelsOnDisk) -> Path:
    """The SavedModel of `toy`, version 1; read only."""
    return models_on_disk.folder / "toy" / "1"


@pytest.fixture
def toy_copy(toy_path: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(toy_path, tmp_path / "1"))


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


@pytest.fixture
def make_scheduler() -> Iterator[MakeScheduler]:
    """Makes schedulers of one thread with the batching parameters given; they end with the test."""
    schedulers: list[Scheduler] = []

    def scheduler(**parameters: Any) -> Scheduler:
        schedulers.append(Scheduler(batching=BatchingParameters(**{"num_batch_threads": 1, **parameters})))
        return schedulers[-1]

    yield scheduler
    for made in schedulers:
        made.close()


@pytest.fixture
def events() -> list[str]:
    """What happens to the servables of a test, in order: `load 1`, `unload 1`, `fail 2`."""
    FakeServable.events = []
    return FakeServable.events


@pytest.fixture
def make_manager(events: list[str]) -> Iterator[Callable[..., Manager]]:
    """Makes managers of servables without a model, which have looked once; they end with the test."""
    managers = []

    def make(config: Config, **options: object) -> Manager:
        policy = LoadPolicy(max_retries=0, retry_seconds=3600.0, waits_for_writers=False)
        made = Manager(config, ManagerOptions(policy=policy, load=FakeServable, **options))  # type: ignore[arg-type]
        managers.append(made)
        made.poll()
        return made

    yield make
    for manager in managers:
        manager.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where the versions of one model go; not there yet."""
    return tmp_path / "base"


@pytest.fixture
def make_model(base: Path, events: list[str]) -> Callable[..., ServedModel]:
    """Makes models of the versions under `base`, without a model in them."""

    def make(policy: LoadPolicy = LOAD_AT_ONCE, **version_policy: object) -> ServedModel:
        settings = ModelSettings("m", str(base), VersionPolicy(**version_policy))  # type: ignore[arg-type]
        return ServedModel(settings, policy=policy, load=FakeServable)  # type: ignore[arg-type]

    return make


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
def log(tmp_path: Path) -> Iterator[RequestLog]:
    """A log of every request to `shoes`, in files `requests-*` of `tmp_path`."""
    one = RequestLog()
    one.configure([settings(tmp_path / "requests")])
    yield one
    one.close()


@pytest.fixture(scope="session")
def toy_models(toy_path: Path) -> Iterator[Models]:
    """One version, which runs one request at a time."""
    batching = BatchingParameters(max_batch_size=1, num_batch_threads=1)
    servable = Servable(str(toy_path), name="toy", version=1, batching=batching)
    yield Models(OneModel(servable))
    servable.close()
