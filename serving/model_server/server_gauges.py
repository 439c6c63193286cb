"""Figures of our own that are shown beside TF Serving's metrics: states of versions, and lost log records."""

from __future__ import annotations

from collections.abc import Mapping

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.errors import ServingError
from serving.model_server.manager import Manager
from serving.model_server.metrics import Gauge
from serving.model_server.request_log import RequestLog

_State = get_model_status_pb2.ModelVersionStatus.State


def server_gauges(manager: Manager, request_log: RequestLog) -> list[Gauge]:
    """What is looked up when the metrics are asked for."""
    return [
        Gauge(
            "model_server_version_state",
            "1 for the state that each version is in: START, LOADING, AVAILABLE, UNLOADING or END.",
            ("model_name", "version", "state"),
            lambda: _version_states(manager),
        ),
        Gauge(
            "model_server_request_log_dropped",
            "Sampled requests that were not logged: the disk was too slow, or failed.",
            (),
            lambda: {(): float(request_log.dropped)},
        ),
    ]


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
