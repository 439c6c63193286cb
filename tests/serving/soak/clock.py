"""Asking a served `models.Clock`."""

from __future__ import annotations

import time

from tests.serving.processes import RunningServer
from tests.serving.soak.callers import Answer, Caller, GrpcCaller

FOREVER = 1e12


def ask(caller: Caller, *, turns: int, deadline: float = FOREVER, timeout: float = 120.0) -> Answer:
    """One row; `deadline` in seconds of Unix time."""
    return caller.call("model", {"deadline": [deadline], "turns": [turns]}, timeout=timeout)


def counts(server: RunningServer) -> tuple[int, int]:
    """Rows that ran so far, and those that began too late."""
    caller = GrpcCaller(server)
    answer = caller.call("model", {"x": [0]}, signature="counts")
    caller.close()
    assert answer.code == "OK", answer.message
    return answer.outputs["rows"][0], answer.outputs["late"][0]


def turns_for(server: RunningServer, *, seconds: float) -> int:
    """Turns that keep the model busy for about so long, on this machine and now."""
    caller, turns = GrpcCaller(server), 16
    ask(caller, turns=1)
    while True:
        start = time.monotonic()
        ask(caller, turns=turns)
        taken = time.monotonic() - start
        if taken > 0.1:
            caller.close()
            return max(round(turns * seconds / taken), 1)
        turns *= 2
