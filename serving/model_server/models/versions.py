"""One served model: its base path is watched, and its versions come and go without a gap."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

from tensorflow_serving.apis import get_model_status_pb2

from serving.model_server import errors
from serving.model_server.config.settings import ModelSettings, VersionPolicy
from serving.model_server.models import version_files
from serving.model_server.models.servable import LoadError, Servable
from serving.model_server.models.version_files import GRAPHS
from serving.version_folders import version_numbers

logger = logging.getLogger(__name__)

State = get_model_status_pb2.ModelVersionStatus.State


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus says of one version."""

    state: int = State.START
    """A value of `State`."""

    error: str = ""
    """Why it is not available, in one line; empty where nothing failed."""


@dataclasses.dataclass(frozen=True)
class LoadPolicy:
    """When a version is loaded, and again."""

    max_retries: int = 5
    """TF Serving's --max_num_load_retries."""

    retry_seconds: float = 60.0
    """TF Serving's --load_retry_interval_micros."""

    waits_for_writers: bool = True
    """Whether a folder that may still be written to is left alone until it is quiet."""


class Version:
    """START (not tried yet) -> LOADING -> AVAILABLE -> UNLOADING -> END; a failed load goes to END and back.

    One thread at a time calls `is_due`, `load`, `forget_failures` and `unload`; any number of threads call the rest.
    """

    def __init__(self, number: int, *, model_name: str) -> None:
        """Starts in START."""
        self.number = number
        self.status = VersionStatus()
        self._title = f"{model_name} version {number}"
        self._failures = 0
        self._retry_at = 0.0  # second of time.monotonic
        self._seen: version_files.Snapshot | None = None  # the first of the looks that were alike
        self._lock = threading.Condition()
        self._servable: Servable | None = None
        self._users = 0

    def is_due(self, path: str, policy: LoadPolicy) -> bool:
        """Whether it is to be loaded now; notes why not, where its folder is not whole.

        Args:
            path: its folder.
            policy: how patient to be.
        """
        if self.status.state == State.UNLOADING:
            return False  # it was wanted no more, and now again: at the next look
        try:
            now = version_files.snapshot(path)
        except OSError as error:  # something in it went away while we looked: it is being written
            self._wait_for(f"{path} is still being written: {error}")
            return False
        before = self._seen
        if before is None or not now.is_like(before):
            self._seen = now
            self.forget_failures()  # it was repaired, or copying went on
        if self.has_failed(policy) or time.monotonic() < self._retry_at:
            return False
        reason = version_files.missing_part(path)
        if policy.waits_for_writers and not version_files.is_settled(now, before):
            self._wait_for(reason or f"{path} is still being written")
            return False
        if reason:
            self._fail(reason, policy)
        return not reason

    def has_failed(self, policy: LoadPolicy) -> bool:
        """Whether it failed to load more often than it may."""
        return self._failures > policy.max_retries

    def forget_failures(self) -> None:
        """Starts counting failures from zero."""
        self._failures, self._retry_at = 0, 0.0

    def load(self, make: Callable[[], Servable], policy: LoadPolicy) -> bool:
        """Loads it; True when it is available.

        Args:
            make: makes the servable, which raises LoadError.
            policy: when to try again.
        """
        self.status = VersionStatus(State.LOADING)
        logger.info("loading %s", self._title)
        start = time.monotonic()
        try:
            servable = make()
        except LoadError as error:
            self._fail(str(error), policy)
            return False
        with self._lock:
            self._servable = servable
            self.status = VersionStatus(State.AVAILABLE)
        self.forget_failures()
        logger.info("%s is available after %.1f s", self._title, time.monotonic() - start)
        return True

    def acquire(self) -> Servable | None:
        """Holds its servable until `release`; None where it is not available."""
        with self._lock:
            if self.status.state != State.AVAILABLE:
                return None
            self._users += 1
            return self._servable

    def release(self) -> None:
        """Undoes one `acquire`."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._lock.notify_all()

    def retire(self) -> None:
        """Takes it out of service: it cannot be acquired any more."""
        with self._lock:
            self.status = VersionStatus(State.UNLOADING)

    def unload(self) -> None:
        """Waits for those who hold it, and frees it; call `retire` before."""
        with self._lock:
            self._lock.wait_for(lambda: self._users == 0)
            servable, self._servable = self._servable, None
        if servable is not None:
            servable.close()
        self.status = VersionStatus(State.END)
        logger.info("%s is unloaded", self._title)

    def _wait_for(self, reason: str) -> None:
        if self.status.error != reason:
            logger.warning("%s is not loaded yet: %s", self._title, reason)
        self.status = VersionStatus(State.START, reason)

    def _fail(self, reason: str, policy: LoadPolicy) -> None:
        self._failures += 1
        self._retry_at = time.monotonic() + policy.retry_seconds
        self.status = VersionStatus(State.END, reason)
        left = policy.max_retries + 1 - self._failures
        logger.error("%s did not load: %s (%d more tries)", self._title, reason, left)


__all__ = ["LoadPolicy", "ServedModel", "State", "VersionStatus", "Work", "scan"]


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
                self._versions[number].forget_failures()  # one that comes back starts from zero
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
