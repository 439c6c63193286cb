"""HAProxy as serving/tf_serving ships it, in front of a server."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.serving.processes import ROOT, free_ports, wait_until

PROXY_DIR = ROOT / "serving" / "tf_serving" / "proxy"
PREDICT = "/v1/models/toy:predict"


class Upstream(Protocol):
    """What a proxy stands in front of."""

    @property
    def grpc_address(self) -> str: ...

    @property
    def rest_address(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A running HAProxy."""

    process: subprocess.Popen[bytes]
    rest_port: int
    grpc_port: int

    def call(
        self, body: Any = None, *, path: str = PREDICT, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and body of a GET where there is no body, else of a POST; an iterator is sent in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=60)
        try:
            chunked = body is not None and not isinstance(body, bytes | str)
            more = {"Transfer-Encoding": "chunked"} if chunked else {}
            method = "GET" if body is None else "POST"
            # A refusal may come, and close the connection, before the whole body is written.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, body, {**more, **(headers or {})}, encode_chunked=chunked)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def error(self, body: Any, **more: Any) -> tuple[int, str]:
        """Status and message of a refusal, whose body holds nothing else."""
        status, text = self.call(body, **more)
        answer = json.loads(text)
        assert list(answer) == ["error"]
        return status, answer["error"]


@contextlib.contextmanager
def proxying(
    server: Upstream, work_dir: Path, *, changes: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """HAProxy as its image starts it, over the shipped files; `changes` replaces pieces of its configuration."""
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if haproxy is None:
        pytest.skip(
            "haproxy is not installed: the proxy of serving/tf_serving is NOT tested (apt-get install haproxy)"
        )
    config = work_dir / "haproxy.cfg"
    text = (PROXY_DIR / "haproxy.cfg").read_text(encoding="utf-8")
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    config.write_text(text, encoding="utf-8")
    rest_port, grpc_port = free_ports(2)
    environment = {
        "MODEL_NAME": "toy",
        "PROXY_DIR": str(PROXY_DIR),
        "REST_BIND": f"127.0.0.1:{rest_port}",
        "GRPC_BIND": f"127.0.0.1:{grpc_port}",
        "REST_UPSTREAM": server.rest_address,
        "GRPC_UPSTREAM": server.grpc_address,
    }
    with open(work_dir / "haproxy.log", "wb") as log:
        process = subprocess.Popen(
            [haproxy, "-W", "-db", "-f", config], env=environment, stdout=log, stderr=log
        )
    proxy = Proxy(process, rest_port, grpc_port)
    try:
        wait_until(lambda: process.poll() is not None or answers(rest_port))
        assert process.poll() is None, (work_dir / "haproxy.log").read_text()
        yield proxy
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def texts(*values: str) -> str:
    return json.dumps({"instances": values})
