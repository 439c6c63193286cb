"""Liveness and readiness as pages: what Kubernetes asks before it sends requests, or starts a process anew."""

from __future__ import annotations

from collections.abc import Callable

# Status, content type and body of a page.
Answer = tuple[int, str, bytes]

_TEXT = "text/plain; charset=utf-8"


class Health:
    """`/livez` and `/readyz`."""

    def __init__(
        self, is_ready: Callable[[], bool], *, has_models: Callable[[], bool] = lambda: True
    ) -> None:
        """Draws on `is_ready`, whether every model has a version that can be called, and on whether there is any."""
        self._is_ready = is_ready
        self._has_models = has_models
        self.draining = False

    def pages(self) -> dict[str, Callable[[], Answer]]:
        """The pages by path."""
        return {"/livez": self.live, "/readyz": self.ready}

    def live(self) -> Answer:
        """200 as long as the process answers at all; a failing model is no reason to start it anew."""
        return 200, _TEXT, b"ok\n"

    def ready(self) -> Answer:
        """200 where requests are welcome; 503 while the server drains, or a model has no version."""
        if self.draining:
            return 503, _TEXT, b"the server is stopping\n"
        if not self._has_models():
            return 503, _TEXT, b"no model is configured\n"
        if not self._is_ready():
            return 503, _TEXT, b"a model has no version that is available\n"
        return 200, _TEXT, b"ready\n"
