"""Figures of our own that are shown beside TF Serving's metrics: states of versions, and lost log records."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.errors import ServingError
from serving.model_server.manager import Manager
from serving.model_server.metrics import Gauge, Sizes
from serving.model_server.request_log import RequestLog
from serving.model_server.scheduler import Scheduler

_State = get_model_status_pb2.ModelVersionStatus.State


def server_gauges(manager: Manager, request_log: RequestLog) -> list[Gauge | Sizes]:
    """What is looked up when the metrics are asked for."""
    return [
        Gauge(
            "model_server_version_state",
            "1 for the state that each version is in: START, LOADING, AVAILABLE, UNLOADING or END.",
            ("model_name", "version", "state"),
            lambda: _version_states(manager),
        ),
        Gauge(
            "model_server_rows_waiting",
            "Rows in the queue of each available version; requests, where batching is off.",
            ("model_name", "version"),
            lambda: {key: float(one.rows_waiting) for key, one in _schedulers(manager).items()},
        ),
        Sizes(
            "model_server_batch_size",
            "Rows of the batches that each available version has run; 1 each, where batching is off.",
            ("model_name", "version"),
            lambda: {key: one.batch_sizes() for key, one in _schedulers(manager).items()},
        ),
        Gauge(
            "model_server_request_log_dropped",
            "Sampled requests that were not logged: the disk was too slow, or failed.",
            (),
            lambda: {(): float(request_log.dropped)},
        ),
    ]


def _schedulers(manager: Manager) -> dict[tuple[str, ...], Scheduler]:
    found: dict[tuple[str, ...], Scheduler] = {}
    for name, version, state in _version_states(manager):
        if state != _State.Name(_State.AVAILABLE):
            continue
        spec = model_pb2.ModelSpec(name=name)
        spec.version.value = int(version)
        with contextlib.suppress(ServingError), manager.use(spec) as servable:  # else it has gone just now
            found[name, version] = servable.scheduler
    return found


def _version_states(manager: Manager) -> Mapping[tuple[str, ...], float]:
    states: dict[tuple[str, ...], float] = {}
    for settings in manager.settings:
        try:
            statuses = manager.statuses(model_pb2.ModelSpec(name=settings.name))
        except ServingError:  # it has no version yet
            continue
        for version, status in statuses.items():
            states[settings.name, str(version), _State.Name(status.state)] = 1.0
    return states
