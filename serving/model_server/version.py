"""One version of a model: when it may be loaded, what became of it, and who uses it."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from tensorflow_serving.apis import get_model_status_pb2

from serving.model_server import version_files
from serving.model_server.servable import LoadError, Servable

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
    """Whether a folder that somebody may still be writing is left alone until it is quiet."""


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
        except OSError as error:  # something in it went away while we looked: somebody is at work
            self._wait_for(f"{path} is still being written: {error}")
            return False
        before = self._seen
        if before is None or not now.is_like(before):
            self._seen = now
            self.forget_failures()  # somebody mended it, or went on copying
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
        """It is to be tried afresh."""
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
        """Takes it out of service: from now on nobody acquires it."""
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
