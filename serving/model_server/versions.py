"""One served model: its base path is watched, and its versions come and go without a gap."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable

from serving.model_server import errors
from serving.model_server.model_settings import ModelSettings, VersionPolicy
from serving.model_server.servable import Servable
from serving.model_server.version import LoadPolicy, State, Version, VersionStatus
from serving.model_server.version_files import GRAPHS
from serving.version_folders import version_numbers

__all__ = ["LoadPolicy", "ServedModel", "State", "VersionStatus", "Work", "scan"]

logger = logging.getLogger(__name__)

Work = Callable[[], None]

# Ended versions that stay listed: a server that gets a new version each hour must not grow for it.
_MAX_ENDED = 100


def scan(base_path: str) -> dict[int, str] | None:
    """The versions under a base path: child folders whose name parses as int64; others are ignored.

    Args:
        base_path: folder of version folders.

    Returns:
        Folder by version; None where the base path cannot be read, which says nothing about the versions.
    """
    try:
        names = os.listdir(base_path)
    except OSError:
        return None
    folders = [name for name in names if os.path.isdir(os.path.join(base_path, name))]
    return {v: os.path.join(base_path, name) for v, name in version_numbers(folders).items()}


def base_path_problem(base_path: str) -> str:
    """Why there can be no version under a base path; "" where only none has come yet."""
    try:
        names = os.listdir(base_path)
    except OSError as error:
        return f"cannot read base path {base_path}: {error.strerror}"
    if GRAPHS & set(names):
        return f"base path {base_path} is itself the folder of a version: it holds a SavedModel; give its parent folder"
    return ""


class ServedModel:
    """A model name and its base path.

    One thread at a time calls `look`, `retire`, `drop` and `close`; any number of threads call the rest.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        policy: LoadPolicy | None = None,
        load: Callable[..., Servable] = Servable,
    ) -> None:
        """Loads nothing yet.

        Args:
            settings: name, base path, and which versions.
            policy: what to do with a version that does not load.
            load: makes a servable of a path, `name` and `version`.
        """
        self.name = settings.name
        self.base_path = settings.base_path
        self.version_policy = settings.policy
        self._policy = policy or LoadPolicy()
        self._load = load
        self._versions: dict[int, Version] = {}
        # Replaced, never changed, so that a request needs no lock to read it.
        self._serving: dict[int, Version] = {}
        self._lock = threading.Lock()
        self._on_disk: dict[int, str] | None = None
        self.problem = ""
        self._aspired: dict[int, str] = {}

    @property
    def available(self) -> list[int]:
        """The versions that can be called, the highest first."""
        return sorted(self._serving, reverse=True)

    @property
    def unsettled(self) -> bool:
        """Whether a version that is to be served waits until its folder is quiet."""
        versions = self._versions
        return any(versions[v].status.state == State.START for v in self._aspired if v in versions)

    def serves(self, number: int) -> bool:
        """Whether a version is available, and is to stay."""
        return number in self._serving and number in self._aspired

    def statuses(self) -> dict[int, VersionStatus]:
        """Every version seen lately, the highest first."""
        with self._lock:
            return {number: self._versions[number].status for number in sorted(self._versions, reverse=True)}

    def failed(self) -> tuple[int, str] | None:
        """The highest version and its error, where every version failed for good and none is available."""
        versions = [self._versions[v] for v in self._aspired if v in self._versions]
        if self._serving or not versions or not all(v.has_failed(self._policy) for v in versions):
            return None
        highest = max(versions, key=lambda version: version.number)
        return highest.number, highest.status.error

    def acquire(self, number: int | None = None) -> tuple[Version, Servable]:
        """Holds a version until its `release`; it is not unloaded meanwhile.

        Args:
            number: of the version; None is the latest.

        Raises:
            ServingError: NOT_FOUND; it is not loaded.
        """
        while True:
            serving = self._serving
            chosen = max(serving, default=None) if number is None else number
            version = serving.get(chosen) if chosen is not None else None
            if version is None:
                wanted = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
                raise errors.not_found(f"Servable not found for request: {wanted}")
            servable = version.acquire()
            if servable is not None:
                return version, servable
            # It was taken out of service between two lines: look again.

    def look(self, version_policy: VersionPolicy | None = None) -> list[Work]:
        """Looks at the base path.

        Args:
            version_policy: look as if this were the policy; None is the model's own.

        Returns:
            The loads that are due, the highest version first; each may run in a thread of its own.
        """
        self._on_disk = scan(self.base_path)
        self._note_problem()
        if self._on_disk is None:
            return []
        self._aspired = (version_policy or self.version_policy).choose(self._on_disk)
        with self._lock:
            for number in self._aspired:
                self._versions.setdefault(number, Version(number, model_name=self.name))
            for number in set(self._versions) - set(self._on_disk):
                self._versions[number].forget_failures()  # one that comes back is tried afresh
        due = [
            number
            for number, path in self._aspired.items()
            if number not in self._serving and self._versions[number].is_due(path, self._policy)
        ]
        return [functools.partial(self._load_version, number, self._aspired[number]) for number in due]

    def _note_problem(self) -> None:
        """Says once why there is no version."""
        problem = "" if self._on_disk else base_path_problem(self.base_path)
        if problem and problem != self.problem:
            logger.warning("model %s: %s", self.name, problem)
        self.problem = problem

    def retire(self) -> list[Work]:
        """Takes old versions out of service; call it when the loads are done.

        They go when every version that is to be served is available; those whose folder is gone, when any is.

        Returns:
            What waits for their last requests and frees them; each may run in a thread of its own.
        """
        if self._on_disk is None:
            return []
        wanted, serving = set(self._aspired), set(self._serving)
        old = serving - wanted
        if wanted and not wanted & serving:
            return []
        return self.drop(old - set(self._on_disk) if wanted - serving else old)

    def drop(self, numbers: Iterable[int]) -> list[Work]:
        """Takes versions out of service; returns as `retire`."""
        dropped = [self._serving[number] for number in sorted(numbers)]
        with self._lock:
            self._serving = {n: v for n, v in self._serving.items() if v not in dropped}
            ended = [n for n in sorted(self._versions) if n not in self._serving and n not in self._aspired]
            for number in ended[: max(0, len(ended) - _MAX_ENDED)]:
                del self._versions[number]
        for version in dropped:
            version.retire()
        return [version.unload for version in dropped]

    def close(self) -> list[Work]:
        """Takes all versions out of service; returns as `retire`."""
        return self.drop(self.available)

    def _load_version(self, number: int, path: str) -> None:
        version = self._versions[number]
        make = functools.partial(self._load, path, name=self.name, version=number)
        if version.load(make, self._policy):
            with self._lock:
                self._serving = {**self._serving, number: version}
