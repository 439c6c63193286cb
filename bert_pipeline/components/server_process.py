"""The model server as a local process for the InfraValidator; TFX supports only docker and Kubernetes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bert_pipeline.settings.config import PROJECT_ROOT

_SERVER_MODULE = "serving.model_server"
# Exit status of serving.model_server if it could not load the model.
_EXIT_MODEL_NOT_LOADED = 3
# Signals of a crash, which would recur with the same model. SIGKILL and SIGTERM come from outside (out of memory,
# a user), so the next attempt may succeed.
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS, signal.SIGFPE}
_POLL_SECONDS = 0.1
_STOP_SECONDS = 5.0


class ModelNotLoaded(Exception):
    """The server started but could not load the model; the message is its one-line reason."""


class ServerNotStarted(Exception):
    """The server ended before loading the model; this is not the model's fault."""


class ServerProcess:
    """`python -m serving.model_server` in a process group of its own, on the CPU, on a free port.

    It has the methods of TFX's BaseModelServerRunner without importing TFX. It ends with `Stop`, or when this
    process dies.
    """

    def __init__(self, *, model_base_path: str, model_name: str, work_dir: str) -> None:
        """Configures the server without starting it.

        Args:
            model_base_path: folder with one version folder.
            model_name: name under which it is served.
            work_dir: existing folder for the server's log and port file.
        """
        self._model_base_path = model_base_path
        self._model_name = model_name
        self._log_path = Path(work_dir) / "server.log"
        self._port_path = Path(work_dir) / "ports.json"
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        """Name in TFX's log."""
        return f"ServerProcess({self._model_base_path})"

    def Start(self) -> None:
        """Starts the process, which begins to load the model."""
        self._port_path.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            _SERVER_MODULE,
            f"--model_name={self._model_name}",
            f"--model_base_path={self._model_base_path}",
            "--port=0",
            "--host=127.0.0.1",
            f"--port_file={self._port_path}",
            "--file_system_poll_wait_seconds=0",
            "--max_num_load_retries=0",
            "--exit_with_stdin",
        ]
        # Training may still hold all memory of the accelerator; the server runs on the CPU.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def WaitUntilRunning(self, deadline: float) -> None:
        """Waits until the model is loaded and warm; the server opens its ports then.

        Args:
            deadline: seconds of `time.time`.

        Raises:
            ModelNotLoaded: the server refused the model, crashed on it, or was not ready in time.
            ServerNotStarted: the process ended for another reason.
        """
        started = time.time()
        while time.time() < deadline:
            if self._port_path.exists():
                return
            self.raise_if_ended()
            time.sleep(_POLL_SECONDS)
        seconds = round(deadline - started)
        raise ModelNotLoaded(f"the server did not load it within {seconds} s: {self._last_line()}")

    def raise_if_ended(self) -> None:
        """Raises ModelNotLoaded or ServerNotStarted, as `WaitUntilRunning` does, if the process has ended."""
        status = self._process.poll() if self._process else 0
        if status is None:
            return
        if status == _EXIT_MODEL_NOT_LOADED:
            _, _, reason = self._last_line().partition(": ")
            raise ModelNotLoaded(f"the server did not load it: {reason}")
        if -status in _CRASHES:
            raise ModelNotLoaded(f"the server crashed on it with {signal.Signals(-status).name}")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ServerNotStarted(f"the server ended with {how}: {self._last_line()}")

    def GetEndpoint(self) -> str:
        """Address of gRPC, host:port."""
        return f"127.0.0.1:{json.loads(self._port_path.read_text())['port']}"

    def rest_endpoint(self) -> str:
        """Address of REST, host:port; TFX uses only gRPC."""
        return f"127.0.0.1:{json.loads(self._port_path.read_text())['rest_api_port']}"

    def GetLogs(self) -> str:
        """The server's full log."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def Stop(self) -> None:
        """Ends the whole process group and waits for it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
                return

    def _last_line(self) -> str:
        lines = [line.strip() for line in self.GetLogs().splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing"
