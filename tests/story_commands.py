"""The commands of the story as people type them, and the customer who asks the server all the while."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TASK = "shoes"


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of the story."""

    command: str
    status: int
    text: str


class Story:
    """Runs the commands in one output folder, and prints what they print."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._environment = {
            **os.environ, "PYTHONPATH": f"{ROOT / 'modules'}:{ROOT}", "TF_USE_LEGACY_KERAS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }  # fmt: skip

    def run(self, *arguments: str, module: str = "bert_pipeline") -> Step:
        """Runs `python -m MODULE ARGUMENTS` to its end."""
        command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
        print(f"\n$ python -m {module} {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        print(done.stdout + done.stderr + f"[exit status {done.returncode}]", flush=True)
        return Step(" ".join(arguments), done.returncode, done.stdout + done.stderr)

    def verb(self, verb: str, *arguments: str) -> Step:
        """Runs a verb of the project on the sample."""
        return self.run(verb, "--task", TASK, "--out", str(self.out), *arguments)

    def versions(self) -> list[str]:
        """The pushed versions, the oldest first."""
        folder = self.out / TASK / "serving" / TASK
        return (
            sorted((p.name for p in folder.iterdir() if p.name.isdigit()), key=int) if folder.is_dir() else []
        )

    def serve(self) -> tuple[subprocess.Popen[bytes], str]:
        """Starts the server as `make serve LOG=1` does, on free ports; gives the address of REST."""
        ports = self.out / "ports.json"
        ports.unlink(missing_ok=True)
        flags = [
            f"--model_name={TASK}", f"--model_base_path={self.out / TASK / 'serving' / TASK}", "--host=127.0.0.1",
            "--port=0", f"--port_file={ports}", "--enable_batching",
            f"--request_log_prefix={self.out / TASK / 'requests' / TASK}",
        ]  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-m", "serving.model_server", *flags]
        print(f"\n$ python -m serving.model_server {' '.join(flags)} &", flush=True)
        log = open(self.out / "server.log", "wb")  # noqa: SIM115  # the process keeps it
        process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        log.close()
        while not ports.exists():
            if process.poll() is not None:
                raise RuntimeError((self.out / "server.log").read_text())
            time.sleep(0.1)
        return process, f"127.0.0.1:{json.loads(ports.read_text())['rest_api_port']}"


class Customer(threading.Thread):
    """Asks the server for the label of a text again and again, over REST, and counts what was lost."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._url = f"http://{address}/v1/models/{TASK}"
        self._stop_asking = threading.Event()
        self.num_answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        """Asks until `finish`."""
        body = json.dumps({"instances": ["The heel came off on the second day."]}).encode()
        while not self._stop_asking.is_set():
            try:
                with urllib.request.urlopen(f"{self._url}:predict", body, timeout=60) as response:
                    assert json.load(response)["predictions"]
                self.num_answers += 1
            except Exception as error:  # whatever it is, a customer has lost a request
                self.failures.append(repr(error))
            time.sleep(0.05)

    def available(self) -> list[str]:
        """The versions that answer now."""
        with urllib.request.urlopen(self._url, timeout=60) as response:
            statuses = json.load(response)["model_version_status"]
        return [status["version"] for status in statuses if status["state"] == "AVAILABLE"]

    def wait_for(self, version: str, *, seconds: float = 120) -> None:
        """Waits until a version answers, alone."""
        end = time.monotonic() + seconds
        while self.available() != [version]:
            if time.monotonic() > end:
                raise RuntimeError(f"version {version} is not served; {self.available()} are")
            time.sleep(0.2)

    def finish(self) -> None:
        """Stops asking."""
        self._stop_asking.set()
        self.join()
