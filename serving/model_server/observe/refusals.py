"""Requests that are refused: counted, and told in the log now and then with the reason.

Nothing of what a client sent gets into the log.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable

from serving.model_server.errors import ServingError

logger = logging.getLogger(__name__)

_TELL_SECONDS = 10.0
# Codes whose messages are the server's own words; those of others may quote a request.
_OWN_WORDS = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})


class Refusals:
    """Any thread may call it."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts from zero; `clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._untold: collections.Counter[tuple[str, str]] = collections.Counter()
        self._tell_at: dict[tuple[str, str], float] = {}

    def counts(self) -> dict[tuple[str, ...], float]:
        """How many so far, by entrypoint and code."""
        with self._lock:
            return {key: float(count) for key, count in self._counts.items()}

    def note(self, entrypoint: str, code: str, reason: str = "") -> None:
        """Counts one; the log has a line for the first of a kind, and one for all since, each 10 s at most.

        Args:
            entrypoint: REST or GRPC.
            code: canonical code, or what stands in its place.
            reason: why, in the server's own words.
        """
        key, now = (entrypoint, code), self._clock()
        with self._lock:
            self._counts[key] += 1
            self._untold[key] += 1
            if now < self._tell_at.get(key, 0.0):
                return
            count, total = self._untold.pop(key), self._counts[key]
            self._tell_at[key] = now + _TELL_SECONDS
        told = f"{code}: {reason}" if reason else code
        logger.warning("refused %d over %s (%d so far): %s", count, entrypoint, total, told)

    def note_error(self, entrypoint: str, error: ServingError) -> None:
        """As `note`, of a request that ends with an error."""
        code = error.code.name
        self.note(entrypoint, code, error.reason or (error.message if code in _OWN_WORDS else ""))


refusals = Refusals()
"""Those of this process."""
