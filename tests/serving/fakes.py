"""Version folders without a model in them, and servables that only note what happens to them."""

from __future__ import annotations

from pathlib import Path

from serving.model_server.servable import LoadError


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
