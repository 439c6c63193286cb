"""The running server: one event loop with both fronts, and threads that load models."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import functools
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from serving.model_server import process
from serving.model_server.assembly import Assembly
from serving.model_server.models.version_files import QUIET_SECONDS
from serving.model_server.observe.metrics import refusals

logger = logging.getLogger("serving.model_server")

# Exit status when a model cannot be loaded: another than Python's own 1, so that a caller can tell a bad
# model from a server that could not start.
EXIT_MODEL_NOT_LOADED = 3
Result = TypeVar("Result")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Where looking happens once only, and there is nothing yet: the pause between two looks at the start.
_START_POLL_SECONDS = 0.1


class Server:
    """From the flags to the exit status."""

    def __init__(self, flags: argparse.Namespace) -> None:
        """Reads the configuration files; nothing is loaded and no port is taken yet.

        Raises:
            ConfigError: a file cannot be used.
            ServingError: the models cannot be served as configured.
        """
        self._flags = flags
        self._parts = Assembly(flags)
        # Threads wait for the one, the loop for its twin.
        self._stop = threading.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> int:
        """Serves until SIGTERM or SIGINT; a second one ends the process at once.

        Returns:
            Exit status: 0, or EXIT_MODEL_NOT_LOADED.

        Raises:
            OSError: a port is taken.
            ServingError: a label points at a version that is not available.
        """
        process.freeze_garbage()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        if self._flags.exit_with_stdin:
            threading.Thread(target=_watch_stdin, name="stdin", daemon=True).start()
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.set_exception_handler(_on_loop_error)
        self._check_ports()
        status = await self._load()
        if status is not None:
            return status
        await self._open_ports()
        self._start_polling()
        await self._stopped.wait()
        await self._drain()
        return 0

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            logger.warning("a second signal: stopping at once")
            os._exit(128 + number)
        self._stop.set()
        self._stopped.set()

    def _on_hangup(self) -> None:
        """SIGHUP: looks at models.config now; unhandled, it would end the process."""
        logger.info("SIGHUP: looking at models.config")
        if self._parts.config_watch:
            threading.Thread(target=self._parts.config_watch.look, name="SIGHUP", daemon=True).start()

    def _check_ports(self) -> None:
        """Fails now if a port is in use, not after minutes of loading, when the ports open."""
        host = self._flags.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for name, port in (("gRPC", self._flags.port), ("REST", self._flags.rest_api_port)):
            if port:
                try:
                    socket.create_server((host, port), family=family).close()
                except OSError as error:
                    reason = os.strerror(error.errno or 0)
                    raise OSError(f"cannot listen on {name} port {port}: {reason}") from error

    async def _load(self) -> int | None:
        """Loads all models; an exit status where the server is not to start."""
        loading = _in_thread(self._wait_for_models)
        stopped = asyncio.ensure_future(self._stopped.wait())
        waits: list[asyncio.Future[Any]] = [loading, stopped]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not loading.done():
            return 0  # in the middle of a load, which ends with the process
        if failure := loading.result():
            name, version, reason = failure
            print(f"model {name} version {version}: {reason}", file=sys.stderr, flush=True)
            return EXIT_MODEL_NOT_LOADED
        return 0 if self._stop.is_set() else None

    def _wait_for_models(self) -> tuple[str, int, str] | None:
        """Looks until every model is available, or one has failed for good; or the server is stopped."""
        manager, interval = self._parts.manager, self._flags.file_system_poll_wait_seconds
        while not self._stop.is_set():
            if interval >= 0:
                manager.poll()
            if manager.ready:
                manager.assign_labels()
                break
            if (bad := process.bad()) and manager.ready_but(bad):
                logger.error("serving without %s", ", ".join(bad))
                break
            if failure := manager.failed():
                return failure
            self._stop.wait(
                _pause(interval, unsettled=manager.unsettled) if interval else _START_POLL_SECONDS
            )
        return None

    async def _open_ports(self) -> None:
        ports = await self._parts.open_ports()
        if self._flags.port_file:
            _write_atomically(self._flags.port_file, json.dumps(ports))
        names = [settings.name for settings in self._parts.manager.settings]
        logger.info("serving %s on %s", ", ".join(names) or "no model", ports)

    def _start_polling(self) -> None:
        """Looks at base paths and at models.config, each in a thread of its own."""
        if self._flags.file_system_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_models, name="poll versions", daemon=True).start()
        if self._parts.config_watch and self._flags.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_config, name="poll models.config", daemon=True).start()

    def _poll_models(self) -> None:
        manager, interval = self._parts.manager, self._flags.file_system_poll_wait_seconds
        while not self._stop.wait(_pause(interval, unsettled=manager.unsettled)):
            try:
                manager.poll()
            except Exception:
                logger.exception("looking for versions failed; it is tried again")

    def _poll_config(self) -> None:
        watch = self._parts.config_watch
        while watch and not self._stop.wait(self._flags.model_config_file_poll_wait_seconds):
            try:
                watch.look()
            except Exception:
                logger.exception("looking at models.config failed; it is tried again")

    async def _drain(self) -> None:
        """Readiness off, a while for load balancers to notice, then no new requests, and the end of the old ones."""
        logger.info("stopping: readiness is off")
        await self._parts.set_ready(False)
        await asyncio.sleep(self._flags.drain_delay_seconds)
        logger.info("stopping: no new requests, those under way are finished")
        await self._parts.close(self._flags.drain_timeout_seconds)
        logger.info("stopped")


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Out of file descriptors, asyncio writes a traceback each second for each port, and says nothing of clients."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        reason = f"{os.strerror(error.errno)}: new connections wait; raise the limit (ulimit -n)"
        refusals.note("REST", "NO_FILE_DESCRIPTOR", reason)
    else:
        loop.default_exception_handler(context)


def _pause(interval: float, *, unsettled: bool) -> float:
    """Seconds until the next look; sooner where a folder is only waited for to be quiet."""
    return min(interval, QUIET_SECONDS / 2) if unsettled and interval > 0 else abs(interval)


def _in_thread(function: Callable[[], Result]) -> asyncio.Future[Result]:
    """As `asyncio.to_thread`, but the end of the event loop does not wait for the thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        try:
            answer = functools.partial(future.set_result, function())
        except Exception as error:
            answer = functools.partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the caller is gone
            loop.call_soon_threadsafe(answer)

    threading.Thread(target=run, name="first load", daemon=True).start()
    return future


def _watch_stdin() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _write_atomically(path: str, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path) or ".", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
