"""Bodies that no client should send: the server answers each with less than 500, and answers on."""

from __future__ import annotations

import collections
import http.client
import socket
import threading
import time

import pytest

from tests.serving.contract.models import ModelsOnDisk
from tests.serving.contract.rest_calls import Rest
from tests.serving.processes import serving
from tests.serving.rest.fuzz_cases import Case, Cases

NUM_CONNECTIONS = 4
LONGEST_ANSWER_SECONDS = 10.0  # on a machine that does other things, too; a stall is far longer


class Client:
    """Sends cases over one connection, as long as the server keeps it."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None

    def send(self, case: Case) -> int:
        """The status; 0 where a body ends too early, which has no answer."""
        announced = int(case.headers.get("Content-Length", len(case.body)))
        headers = {"Host": "a", "Content-Length": str(announced), **case.headers}
        lines = [f"POST {case.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
        self._socket.sendall("\r\n".join([*lines, "\r\n"]).encode() + case.body)
        if announced > len(case.body):
            self.close()
            return 0
        with http.client.HTTPResponse(self._socket) as response:
            response.begin()
            response.read()
        if response.will_close or announced != len(case.body):
            self.close()
        return response.status

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None


def fuzz(address: str, *, count: int, seed: int = 1) -> tuple[collections.Counter[int], float]:
    """Sends `count` bodies over several connections.

    Returns:
        How often each status came, and the seconds of the slowest answer.
    """
    statuses: collections.Counter[int] = collections.Counter()
    slowest, failures, lock = [0.0], [], threading.Lock()

    def work(number: int) -> None:
        cases, client = Cases(seed * 1000 + number), Client(address)
        for _ in range(count // NUM_CONNECTIONS):
            case = cases.next()
            start = time.monotonic()
            try:
                status = client.send(case)
            except (
                Exception
            ) as error:  # of any kind: a thread that dies would pass for one that found nothing
                failures.append(f"{error!r}: {case.headers} {case.body[:300]!r}")
                client.close()
                continue
            with lock:
                slowest[0] = max(slowest[0], time.monotonic() - start)
                statuses[status] += 1
            if status >= 500:
                failures.append(f"{status}: {case.path} {case.headers} {case.body[:300]!r}")
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(NUM_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [], f"{len(failures)} failures, the first: {failures[:3]}"
    return statuses, slowest[0]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2_000),
        pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3000)]),
    ],
)
def test_no_body_brings_the_server_down(
    count: int, models_on_disk: ModelsOnDisk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    work_dir = tmp_path_factory.mktemp("fuzz")
    with serving(work_dir, f"--model_config_file={models_on_disk.config}") as server:
        statuses, slowest = fuzz(server.rest_address, count=count)
        answer = Rest(server.rest_address).post({"instances": ["hi"]})
        assert answer.json["predictions"][0]["label"] == "short"
        assert server.process.poll() is None
    print(f"{count} bodies: {dict(sorted(statuses.items()))}; the slowest answer took {slowest:.2f} s")
    assert set(statuses) == {0, 200, 400, 404}
    assert statuses[200] > count / 20
    assert slowest < LONGEST_ANSWER_SECONDS
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "unforeseen" not in log


def test_the_same_seed_makes_the_same_cases() -> None:
    first, again = Cases(7), Cases(7)
    assert [first.next() for _ in range(300)] == [again.next() for _ in range(300)]
