"""One served model: its base path is watched, and its versions come and go without a gap."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from tensorflow_serving.apis import get_model_status_pb2

from serving.model_server import errors
from serving.model_server.servable import LoadError, Servable

logger = logging.getLogger(__name__)

State = get_model_status_pb2.ModelVersionStatus.State
_MAX_INT64 = 2**63 - 1


@dataclasses.dataclass
class VersionStatus:
    """What GetModelStatus says of one version."""

    state: int
    """A value of `State`."""

    error: str = ""
    """Why it ended, in one line; empty where nothing failed."""

    failures: int = 0
    """Loads that failed."""

    retry_at: float = 0.0
    """When a failed load is tried again, in seconds of `time.monotonic`."""


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """TF Serving's --max_num_load_retries and --load_retry_interval_micros."""

    max_retries: int = 5
    interval_seconds: float = 60.0


def scan(base_path: str) -> dict[int, str] | None:
    """The versions under a base path: child folders whose name parses as int64; others are ignored.

    Args:
        base_path: folder of version folders.

    Returns:
        Folder by version; None where the base path cannot be read, which says nothing about the versions.
    """
    try:
        names = os.listdir(base_path)
    except OSError as error:
        logger.warning("cannot read base path %s: %s", base_path, error)
        return None
    paths = {int(n): os.path.join(base_path, n) for n in names if n.isascii() and n.isdigit()}
    return {v: path for v, path in paths.items() if v <= _MAX_INT64 and os.path.isdir(path)}


class ServedModel:
    """A model name and its base path; serves the latest version.

    One thread calls `poll`; any number of threads call `use`.
    """

    def __init__(
        self,
        name: str,
        base_path: str,
        *,
        retry: RetryPolicy | None = None,
        load: Callable[..., Servable] = Servable,
    ) -> None:
        """Loads nothing yet.

        Args:
            name: of the model.
            base_path: folder of version folders.
            retry: what to do with a version that fails to load.
            load: makes a servable; another one in tests.
        """
        self.name = name
        self._base_path = base_path
        self._retry = retry or RetryPolicy()
        self._load = load
        self._lock = threading.Condition()
        self._servables: dict[int, Servable] = {}
        self._users: dict[int, int] = {}
        self._statuses: dict[int, VersionStatus] = {}

    @property
    def available(self) -> bool:
        """Whether some version can be called."""
        with self._lock:
            return bool(self._servables)

    def statuses(self) -> dict[int, VersionStatus]:
        """Every version seen so far, the highest first."""
        with self._lock:
            return {v: dataclasses.replace(self._statuses[v]) for v in sorted(self._statuses, reverse=True)}

    def failed(self) -> tuple[int, str] | None:
        """The version that failed for good while none is available, and why."""
        with self._lock:
            for version, status in self._statuses.items():
                if status.failures > self._retry.max_retries and not self._servables:
                    return version, status.error
        return None

    @contextlib.contextmanager
    def use(self, version: int | None = None) -> Iterator[Servable]:
        """Holds a version for the time of one request; it is not unloaded meanwhile.

        Args:
            version: None is the latest.

        Raises:
            ServingError: NOT_FOUND; it is not loaded.
        """
        with self._lock:
            chosen = max(self._servables, default=None) if version is None else version
            if chosen is None or chosen not in self._servables:
                wanted = f"Latest({self.name})" if version is None else f"Specific({self.name}, {version})"
                raise errors.not_found(f"Servable not found for request: {wanted}")
            servable = self._servables[chosen]
            self._users[chosen] += 1
        try:
            yield servable
        finally:
            with self._lock:
                self._users[chosen] -= 1
                self._lock.notify_all()

    def poll(self) -> None:
        """Compares the base path with what is loaded: loads what is new, and only then unloads what is old."""
        paths = scan(self._base_path)
        if paths is None:
            return
        self._forget_failures(kept=set(paths))
        latest = max(paths, default=None)
        if (
            latest is not None
            and latest not in self._servables
            and not self._load_version(latest, paths[latest])
        ):
            return
        for version in sorted(set(self._servables) - {latest}):
            self._unload_version(version)

    def close(self) -> None:
        """Unloads all, when requests under way are done."""
        for version in sorted(self._servables):
            self._unload_version(version)

    def _forget_failures(self, *, kept: set[int]) -> None:
        """A version that was taken away and comes back is tried afresh."""
        with self._lock:
            for version, status in self._statuses.items():
                if version not in kept:
                    status.failures, status.retry_at = 0, 0.0

    def _load_version(self, version: int, path: str) -> bool:
        """Loads a version unless it failed too often or too recently; True when it is available."""
        with self._lock:
            status = self._statuses.setdefault(version, VersionStatus(State.START))
            if status.failures > self._retry.max_retries or time.monotonic() < status.retry_at:
                return False
            status.state = State.LOADING
        logger.info("loading %s version %d", self.name, version)
        try:
            servable = self._load(path, name=self.name, version=version)
        except LoadError as error:
            self._note_failure(version, str(error))
            return False
        with self._lock:
            self._servables[version], self._users[version] = servable, 0
            self._statuses[version] = VersionStatus(State.AVAILABLE)
        logger.info("%s version %d is available", self.name, version)
        return True

    def _note_failure(self, version: int, error: str) -> None:
        logger.error("%s version %d did not load: %s", self.name, version, error)
        with self._lock:
            status = self._statuses[version]
            status.state, status.error = State.END, error
            status.failures += 1
            status.retry_at = time.monotonic() + self._retry.interval_seconds

    def _unload_version(self, version: int) -> None:
        with self._lock:
            self._statuses[version].state = State.UNLOADING
            servable = self._servables.pop(version)
            self._lock.wait_for(lambda: self._users[version] == 0)
            del self._users[version]
        servable.close()
        with self._lock:
            self._statuses[version].state = State.END
        logger.info("%s version %d is unloaded", self.name, version)
