"""The server's command line: TF Serving's flags, start, signals and draining."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from types import FrameType

from serving.model_server.grpc_service import GrpcServer
from serving.model_server.predictions import Models
from serving.model_server.rest import RestServer
from serving.model_server.versions import RetryPolicy, ServedModel

logger = logging.getLogger("serving.model_server")

# Exit status when a model cannot be loaded: another than Python's own 1, so that a caller can tell a bad
# model from a server that could not start.
EXIT_MODEL_NOT_LOADED = 3
# Requests under way get this long after SIGTERM; Kubernetes kills after 30 s.
_GRACE_SECONDS = 25.0


def parse_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the flags; they are TF Serving's, but for those said to be ours."""
    parser = argparse.ArgumentParser(prog="serving.model_server", description=__doc__)
    parser.add_argument("--model_name", default="default", help="name under which the model is asked for")
    parser.add_argument("--model_base_path", required=True, help="folder with one folder for each version")
    parser.add_argument("--port", type=int, default=8500, help="gRPC port; 0: off, but see --port_file")
    parser.add_argument("--rest_api_port", type=int, default=0, help="REST port; 0: off, but see --port_file")
    parser.add_argument(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="seconds between looks at the base path; 0: look once, negative: never look",
    )
    parser.add_argument("--max_num_load_retries", type=int, default=5, help="retries of a failed load")
    parser.add_argument(
        "--load_retry_interval_micros", type=int, default=60_000_000, help="time between them"
    )
    parser.add_argument("--host", default="0.0.0.0", help="ours: address to listen on")
    parser.add_argument(
        "--port_file",
        default="",
        help='ours: a port of 0 becomes any free one, and this file tells which: {"port": n, "rest_api_port": n}; '
        "it appears when the server is ready",
    )
    parser.add_argument(
        "--exit_with_stdin",
        action="store_true",
        help="ours: stop when standard input ends, that is, when the process that holds it dies",
    )
    return parser.parse_args(arguments)


class Server:
    """Everything that runs: one polled model and the two fronts."""

    def __init__(self, flags: argparse.Namespace) -> None:
        """Binds the gRPC port; nothing is loaded yet."""
        self._flags = flags
        retry = RetryPolicy(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6)
        self._model = ServedModel(flags.model_name, flags.model_base_path, retry=retry)
        models = Models({flags.model_name: self._model})
        self._stop = threading.Event()
        self._grpc = (
            GrpcServer(models, host=flags.host, port=flags.port) if self._wanted(flags.port) else None
        )
        rest = RestServer(models, host=flags.host, port=flags.rest_api_port)
        self._rest = rest if self._wanted(flags.rest_api_port) else None

    def _wanted(self, port: int) -> bool:
        return port > 0 or bool(self._flags.port_file)

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT.

        Returns:
            Exit status: 0, or EXIT_MODEL_NOT_LOADED.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if self._flags.exit_with_stdin:
            threading.Thread(target=self._watch_stdin, daemon=True).start()
        if not self._wait_for_model():
            return 0
        failure = self._model.failed()
        if failure:
            print(
                f"model {self._flags.model_name} version {failure[0]}: {failure[1]}",
                file=sys.stderr,
                flush=True,
            )
            return EXIT_MODEL_NOT_LOADED
        self._open_ports()
        self._poll_until_stopped()
        self._drain()
        return 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _watch_stdin(self) -> None:
        while sys.stdin.buffer.read(1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    def _wait_for_model(self) -> bool:
        """Waits for the first version; ports stay closed until then. False when stopped meanwhile."""
        pause = max(self._flags.file_system_poll_wait_seconds, 0.1)
        while not self._stop.is_set():
            self._model.poll()
            if self._model.available or self._model.failed():
                return True
            self._stop.wait(pause)
        return False

    def _open_ports(self) -> None:
        ports = {}
        if self._grpc:
            self._grpc.start()
            ports["port"] = self._grpc.port
        if self._rest:
            self._rest.start()
            ports["rest_api_port"] = self._rest.port
        if self._flags.port_file:
            _write_atomically(self._flags.port_file, json.dumps(ports))
        logger.info("serving %s on %s", self._flags.model_name, ports)

    def _poll_until_stopped(self) -> None:
        interval = self._flags.file_system_poll_wait_seconds
        if interval <= 0:
            self._stop.wait()
        while not self._stop.wait(interval):
            self._model.poll()

    def _drain(self) -> None:
        logger.info("stopping: no new requests, those under way are finished")
        stops = [
            threading.Thread(target=s.stop, args=(_GRACE_SECONDS,)) for s in (self._grpc, self._rest) if s
        ]
        for thread in stops:
            thread.start()
        for thread in stops:
            thread.join()
        self._model.close()


def _write_atomically(path: str, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path) or ".", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server; returns its exit status."""
    flags = parse_flags(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # TensorFlow announces on every load that its TF1 loader is deprecated; nobody who serves can act on it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        return Server(flags).run()
    except OSError as error:
        print(f"the server could not start: {error}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
