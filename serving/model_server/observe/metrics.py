"""What is counted: TF Serving's metrics and figures of our own, and requests that are refused."""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import prometheus_client
from prometheus_client import core
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.batching.scheduler import Scheduler
from serving.model_server.errors import ServingError
from serving.model_server.models.manager import Manager
from serving.model_server.observe.request_log import RequestLog

# Upper bounds in microseconds, from 10 us to half an hour: `Buckets::Exponential(10, 1.8, 33)` in
# https://github.com/tensorflow/serving/blob/2.16.1/tensorflow_serving/servables/tensorflow/util.cc
# in its six digits.
_BUCKETS = tuple(float(f"{10 * 1.8**power:.6g}") for power in range(33))
_REQUEST_COUNT = ":tensorflow:serving:request_count"
_REQUEST_LATENCY = ":tensorflow:serving:request_latency"
# TF Serving writes bounds in C++'s way: le="10", and not le="10.0".
_WHOLE_BOUND = re.compile(rb'(?<=[{,]le=")(\d+)\.0(?=")')
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SIZES = tuple(2**power for power in range(11))


Labels = tuple[str, ...]


def gauge(name: str, text: str, labels: Labels, values: Mapping[Labels, float]) -> core.Metric:
    """A figure of our own: value by the values of its labels."""
    family = core.GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def histogram(
    name: str, text: str, labels: Labels, counts: Mapping[Labels, Mapping[int, int]]
) -> core.Metric:
    """How often which size occurred, by the values of its labels; with bounds at 1, 2, 4, ... 1024."""
    family = core.HistogramMetricFamily(name, text, labels=labels)
    for key, by_size in counts.items():
        buckets = [
            (str(most), float(sum(n for size, n in by_size.items() if size <= most))) for most in _SIZES
        ]
        buckets.append(("+Inf", float(sum(by_size.values()))))
        family.add_metric(key, buckets, sum_value=sum(size * n for size, n in by_size.items()))
    return family


class Metrics:
    """What the server counts; any thread may call it."""

    def __init__(
        self, figures: Callable[[], Iterable[core.Metric]] = tuple, *, knows: Callable[[str], bool] = bool
    ) -> None:
        """Starts from zero.

        Args:
            figures: those of our own, read at scrape time.
            knows: whether a model has this name; requests for others are counted under "", so that clients
                cannot fill the memory with series.
        """
        self._knows = knows
        # TF Serving writes no time of birth beside each series.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self._registry = prometheus_client.CollectorRegistry()
        self._count = prometheus_client.Counter(
            _REQUEST_COUNT,
            "The total number of requests.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self._latency = prometheus_client.Histogram(
            _REQUEST_LATENCY,
            "Distribution of wall time (in microseconds) for Tensorflow Serving requests.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        # Prometheus' own lookup by labels costs as much as the rest of `observe`.
        self._count_of = functools.cache(self._count.labels)
        self._latency_of = functools.cache(self._latency.labels)
        self._registry.register(_Figures(figures))
        prometheus_client.ProcessCollector(registry=self._registry)

    def observe(self, model_name: str, api: str, entrypoint: str, code_name: str, seconds: float) -> None:
        """Counts one request, in about 6 us.

        Args:
            model_name: as the client gave it.
            api: Predict, Classify, Regress or MultiInference.
            entrypoint: GRPC or REST.
            code_name: canonical code: OK, INVALID_ARGUMENT, ...
            seconds: from the whole request to the whole answer.
        """
        name = model_name if self._knows(model_name) else ""
        self._count_of(name, code_name).inc()
        self._latency_of(name, api, entrypoint).observe(seconds * 1e6)

    def render(self) -> bytes:
        """Everything as a page, in CONTENT_TYPE."""
        text = _WHOLE_BOUND.sub(rb"\1", prometheus_client.generate_latest(self._registry))
        # Prometheus' own library puts _total behind every counter; TF Serving does not.
        return text.replace(f"{_REQUEST_COUNT}_total".encode(), _REQUEST_COUNT.encode())

    def page(self) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        return 200, CONTENT_TYPE, self.render()


class _Figures:
    """The figures of our own, as Prometheus' library wants them."""

    def __init__(self, read: Callable[[], Iterable[core.Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[core.Metric]:
        return self._read()

    def describe(self) -> list[core.Metric]:
        """Nothing: otherwise registering would read every figure, before there is anything to read."""
        return []


_State = get_model_status_pb2.ModelVersionStatus.State


def server_figures(manager: Manager, request_log: RequestLog) -> Iterator[core.Metric]:
    """What is read at scrape time."""
    version, schedulers = ("model_name", "version"), _schedulers(manager)
    yield gauge(
        "model_server_version_state",
        "1 for the state that each version is in: START, LOADING, AVAILABLE, UNLOADING or END.",
        (*version, "state"),
        _version_states(manager),
    )
    yield gauge(
        "model_server_rows_waiting",
        "Rows in the queue of each available version; requests, where batching is off.",
        version,
        {key: float(one.rows_waiting) for key, one in schedulers.items()},
    )
    yield histogram(
        "model_server_batch_size",
        "Rows of the batches that each available version has run; 1 each, where batching is off.",
        version,
        {key: one.batch_sizes() for key, one in schedulers.items()},
    )
    dropped: dict[Labels, float] = {(): float(request_log.dropped)}
    text = "Sampled requests that were not logged: the disk was too slow, or failed."
    yield gauge("model_server_request_log_dropped", text, (), dropped)
    labels = ("entrypoint", "code")
    yield gauge("model_server_refused", "Requests that were refused.", labels, refusals.counts())


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


logger = logging.getLogger(__name__)

_TELL_SECONDS = 10.0
# Codes whose messages are the server's own words; those of others may quote a request.
_OWN_WORDS = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})


class Refusals:
    """Counts refused requests, and logs now and then how many and why, without anything that a client sent.

    Any thread may call it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts from zero; `clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._untold: collections.Counter[tuple[str, str]] = collections.Counter()
        self._tell_at: dict[tuple[str, str], float] = {}

    def counts(self) -> dict[tuple[str, ...], float]:
        """How many so far, by entrypoint and code."""
        with self._lock:
            return {key: float(count) for key, count in self._counts.items()}

    def note(self, entrypoint: str, code: str, reason: str = "") -> None:
        """Counts one; the log has a line for the first of a kind, and one for all since, each 10 s at most.

        Args:
            entrypoint: REST or GRPC.
            code: canonical code, or a name of our own.
            reason: why, in the server's own words.
        """
        key, now = (entrypoint, code), self._clock()
        with self._lock:
            self._counts[key] += 1
            self._untold[key] += 1
            if now < self._tell_at.get(key, 0.0):
                return
            count, total = self._untold.pop(key), self._counts[key]
            self._tell_at[key] = now + _TELL_SECONDS
        shown = f"{code}: {reason}" if reason else code
        logger.warning("refused %d over %s (%d so far): %s", count, entrypoint, total, shown)

    def note_error(self, entrypoint: str, error: ServingError) -> None:
        """As `note`, of a request that ends with an error."""
        code = error.code.name
        self.note(entrypoint, code, error.reason or (error.message if code in _OWN_WORDS else ""))


refusals = Refusals()
"""Those of this process."""
