"""What the verbs of a task are given, as dataclasses: the request of a verb adds its own options to one of them.

Fields have the names of the options; `of` fills them from a parsed command line. Task files are read in functions
only: `--help` and `doctor` do without pydantic.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bert_pipeline.settings.paths import RunPaths, run_paths

if TYPE_CHECKING:
    from bert_pipeline.settings.config import LoadedTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaceRequest:
    """A task, and where its runs write."""

    task: str
    """Name of a file in `tasks/`, or a path to one."""

    out: Path = Path("out")

    @property
    def paths(self) -> RunPaths:
        """Where the runs of the task write."""
        from bert_pipeline.settings import config

        return run_paths(config.task_name(self.task), out=self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PastRequest(PlaceRequest):
    """Of a verb that reads what ran before."""

    metadata: str = ""
    """Address of ML Metadata's store; empty: sqlite in the output folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphRequest(PastRequest):
    """Of a verb that runs a graph, or a part of it."""

    data: str = ""
    span: int | None = None
    window: int | None = None
    overrides: tuple[str, ...] = ()
    verbose: bool = False

    def load(self) -> LoadedTask:
        """Reads the task file, with what the command line puts in its place.

        Raises:
            UserError: see `config.load_task`.
        """
        from bert_pipeline.settings import config

        return config.load_task(
            self.task, data=self.data, span=self.span, window=self.window, overrides=self.overrides
        )


Request = TypeVar("Request")


def of(cls: type[Request], arguments: argparse.Namespace) -> Request:
    """A request from a parsed command line.

    Args:
        cls: a dataclass; a field that the verb has no option for keeps its default.
        arguments: options by name; lists become tuples.
    """
    names = [field.name for field in dataclasses.fields(cls) if hasattr(arguments, field.name)]  # type: ignore[arg-type]
    values = {name: getattr(arguments, name) for name in names}
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
