"""What a session gives to be called is made late, and once."""

from __future__ import annotations

import threading
from concurrent import futures

from serving.model_server.models import servable


def test_a_call_is_made_once_by_the_thread_that_first_needs_it() -> None:
    makers: list[str] = []

    def make():
        makers.append(threading.current_thread().name)
        return lambda x: [x + 1]

    call = servable.late(make)
    assert makers == []
    with futures.ThreadPoolExecutor(8, thread_name_prefix="worker") as pool:
        assert list(pool.map(call, range(100))) == [[x + 1] for x in range(100)]
    assert len(makers) == 1
    assert makers[0].startswith("worker")
