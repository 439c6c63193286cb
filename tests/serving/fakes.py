"""Version folders without a model in them, servables that only note what happens to them, and a look at both."""

from __future__ import annotations

from pathlib import Path

from serving.model_server.models.servable import LoadError
from serving.model_server.models.versions import LoadPolicy, ServedModel, State

LOAD_AT_ONCE = LoadPolicy(max_retries=1, retry_seconds=0.0, waits_for_writers=False)


class FakeServable:
    """Fails to load where its folder holds a file called `broken`."""

    events: list[str] = []

    def __init__(self, path: str, *, name: str, version: int) -> None:
        if (Path(path) / "broken").exists():
            self.events.append(f"fail {version}")
            raise LoadError("it is broken")
        self.path = path
        self.name = name
        self.version = version
        self.events.append(f"load {version}")

    def close(self) -> None:
        self.events.append(f"unload {self.version}")


def add_version(base_path: Path, name: str, *, broken: bool = False) -> Path:
    """A folder with an empty graph, which needs no variables."""
    folder = base_path / name
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    if broken:
        (folder / "broken").touch()
    return folder


def poll(model: ServedModel) -> None:
    """One look at the folders: loads what is new, unloads what has gone."""
    for load in model.look():
        load()
    for unload in model.retire():
        unload()


def states(model: ServedModel) -> dict[int, str]:
    """State by version, as the status tells it."""
    return {number: State.Name(status.state) for number, status in model.statuses().items()}
