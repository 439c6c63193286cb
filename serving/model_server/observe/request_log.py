"""A sample of the requests and answers, kept as TFRecords of PredictionLog.

TF Serving configures it so (models.config) and its stock binary has no collector for it; ours writes files:

    logging_config {
      sampling_config { sampling_rate: 0.1 }
      log_collector_config { type: "tfrecord" filename_prefix: "/var/log/shoes/requests" }
    }

Files are called PREFIX-TIME-PROCESS-NUMBER.tfrecord, and end in `.partial` while they are written, so that a pattern
of a reader finds whole files only. `logged_examples.py` reads them as tf.Examples.

PredictionLog has no field for an id. The id of the request (`api.py`) is `log_metadata.request_origin`, so that
labels that come days later can be joined by it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import itertools
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from serving.model_server.api import current_request_id
from serving.model_server.config.settings import ModelSettings
from serving.model_server.errors import invalid_argument

logger = logging.getLogger(__name__)

_PARTIAL = ".partial"
# Length (8 bytes), its checksum (4), the record, its checksum (4):
# https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
_FRAME_BYTES = 16
_numbers = itertools.count()


@dataclasses.dataclass(frozen=True)
class Rotation:
    """When a file is complete and the next one begins."""

    max_bytes: int = 64 * 2**20
    max_seconds: float = 300.0


class LogFile:
    """One file under `prefix`, PREFIX-TIME-PROCESS-NUMBER.tfrecord; only its writer's thread calls it."""

    def __init__(self, prefix: str) -> None:
        """Makes the file, and its folder.

        Raises:
            OSError: it cannot be made.
        """
        os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
        self._lock = _new_file(prefix)
        self.problem = ""
        """Why something could not be written; the file is good for nothing more then but `complete`."""
        self._partial = self._lock.name
        self._writer = tf.io.TFRecordWriter(self._partial)
        self._since = time.monotonic()
        self._num_bytes = 0
        self._num_records = 0

    def write(self, record: bytes) -> None:
        """Adds a record; it is in the file after `flush`, unless there is a `problem`."""
        self._num_records += 1
        self._num_bytes += len(record) + _FRAME_BYTES
        self._try(self._writer.write, record)

    def flush(self) -> None:
        """Gives the operating system what is written so far."""
        self._try(self._writer.flush)

    def is_due(self, rotation: Rotation) -> bool:
        """Whether the file is large or old enough, or cannot be written to any more."""
        age = time.monotonic() - self._since
        return bool(self.problem) or self._num_bytes >= rotation.max_bytes or age >= rotation.max_seconds

    def complete(self) -> int:
        """Closes the file and shows it to readers, with the records that are whole in it.

        Returns:
            Records that are lost; `problem` says why.

        Raises:
            OSError: the file cannot be cut or renamed; `recover` retries at the next start.
        """
        had_problem = self.problem
        self.problem = ""
        self._try(self._writer.close)
        self.problem = had_problem or self.problem
        try:
            num_whole = _cut(self._partial) if self.problem else self._num_records
            _show(self._partial, num_records=num_whole)
        finally:
            self._lock.close()
        return self._num_records - num_whole

    def _try(self, function: Callable[..., Any], *args: Any) -> None:
        if self.problem:  # what comes behind half a record is lost to readers
            return
        try:
            function(*args)
        except tf.errors.OpError as error:
            self.problem = error.message


def recover(prefix: str) -> None:
    """Completes the files under `prefix` that a killed server left.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder = os.path.dirname(prefix) or "."
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"folder {folder} cannot be written to")
    for partial in glob.glob(f"{glob.escape(prefix)}-*.tfrecord{_PARTIAL}"):
        try:
            _recover_one(partial)
        except FileNotFoundError:
            continue  # another server that starts was quicker
        except OSError as error:
            logger.warning("the request log %s is not recovered: %s", partial, error)


def _recover_one(partial: str) -> None:
    with open(partial, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another server writes it
        num_records = _cut(partial)
        _show(partial, num_records=num_records)
        logger.info("recovered %d records of %s", num_records, partial)


def _new_file(prefix: str) -> BinaryIO:
    """An empty file, locked: a server that starts meanwhile does not take it for a leftover."""
    while True:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = f"{prefix}-{stamp}-{os.getpid()}-{next(_numbers):04d}.tfrecord"
        if os.path.exists(path):  # in containers every server is process 1
            continue
        with contextlib.suppress(FileExistsError):
            file = open(path + _PARTIAL, "xb")  # noqa: SIM115  # as long as the file is written
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.exists(file.name):  # else it was taken for a leftover before it was locked
                return file
            file.close()


def _show(partial: str, *, num_records: int) -> None:
    """Gives a file its final name; deletes it if it is empty."""
    if num_records:
        os.rename(partial, partial.removesuffix(_PARTIAL))
    else:
        os.remove(partial)


def _cut(path: str) -> int:
    """Cuts off what is not a whole record; returns how many are."""
    num_bytes = num_records = 0
    with contextlib.suppress(tf.errors.DataLossError):
        for record in tf.compat.v1.io.tf_record_iterator(path):
            num_bytes += len(record) + _FRAME_BYTES
            num_records += 1
    if num_bytes != os.path.getsize(path):
        os.truncate(path, num_bytes)
    return num_records


# Answered requests that may wait for the disk; more are dropped.
_MAX_WAITING = 1000
# How long the writer sleeps at most before it looks whether a file is old enough to be closed.
_LOOK_SECONDS = 1.0
# After a file could not be written, requests are dropped for so long before another one is tried.
_RETRY_SECONDS = 1.0
# Log dropped requests at most once per this interval.
_TELL_SECONDS = 60.0
# How long the end of the server waits for the disk.
_CLOSE_SECONDS = 10.0


class _Entry(NamedTuple):
    make_log: Callable[[], prediction_log_pb2.PredictionLog]
    config: logging_config_pb2.LoggingConfig
    second: int
    request_id: str


class RequestLog:
    """Any thread may call it; one thread of its own writes."""

    def __init__(self, rotation: Rotation | None = None, *, max_waiting: int = _MAX_WAITING) -> None:
        """Logs nothing until it is configured.

        Args:
            rotation: when a file is closed and the next one begun.
            max_waiting: requests that may wait to be written.
        """
        self._rotation = rotation or Rotation()
        self._configs: dict[str, logging_config_pb2.LoggingConfig] = {}
        self._queue: queue.Queue[_Entry | None] = queue.Queue(max_waiting)
        self._files: dict[str, LogFile] = {}
        self._thread: threading.Thread | None = None
        self._retry_at: dict[str, float] = {}  # second of time.monotonic by prefix
        self._lock = threading.Lock()  # of what follows
        self._dropped = 0
        self._tell_at = 0.0

    @property
    def dropped(self) -> int:
        """Sampled requests that were not written: the disk was too slow, or failed."""
        return self._dropped

    def configure(self, settings: Iterable[ModelSettings]) -> None:
        """Takes the models' logging_config; files that a killed process left are completed first.

        Raises:
            ServingError: INVALID_ARGUMENT; a folder cannot be written to.
        """
        configs = {s.name: s.logging for s in settings if s.logging}
        for prefix in sorted({config.log_collector_config.filename_prefix for config in configs.values()}):
            try:
                recover(prefix)
            except OSError as error:
                raise invalid_argument(
                    f"logging_config.log_collector_config.filename_prefix {prefix}: {error}; "
                    "give a path in a folder that the server may write to"
                ) from error
        self._configs = {
            name: config for name, config in configs.items() if config.sampling_config.sampling_rate > 0
        }
        if self._configs and self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="request log", daemon=True)
            self._thread.start()

    def offer(self, model_name: str, make_log: Callable[[], prediction_log_pb2.PredictionLog]) -> None:
        """Keeps the request if the dice say so; never waits, and never fails.

        Args:
            model_name: decides which configuration counts.
            make_log: makes the record; called in the writer's thread.
        """
        config = self._configs.get(model_name)
        if config is None or random.random() >= config.sampling_config.sampling_rate:
            return
        try:
            self._queue.put_nowait(_Entry(make_log, config, int(time.time()), current_request_id()))
        except queue.Full:
            self._drop("the disk is slower than the requests")

    def close(self) -> None:
        """Writes what waits, and completes the files; a disk that hangs is left after a while."""
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)
            self._thread = None

    def _write_all(self) -> None:
        for batch in self._batches():
            for entry in batch:
                self._write(entry)
            self._flush()
        for prefix in list(self._files):
            self._complete(prefix)

    def _batches(self) -> Iterator[list[_Entry]]:
        """What has come since the last look, or nothing for a while; ends when the log is closed."""
        is_open = True
        while is_open:
            batch: list[_Entry] = []
            with contextlib.suppress(queue.Empty):
                entry = self._queue.get(timeout=_LOOK_SECONDS)
                while entry is not None:
                    batch.append(entry)
                    entry = self._queue.get_nowait()
                is_open = False
            yield batch

    def _write(self, entry: _Entry) -> None:
        prefix = entry.config.log_collector_config.filename_prefix
        if time.monotonic() < self._retry_at.get(prefix, 0.0):
            self._drop(f"{prefix} could not be written a moment ago")
            return
        try:
            log = entry.make_log()
            _add_metadata(log, entry)
            record = log.SerializeToString()
        except Exception as error:  # this thread must live; log the type only, the message may quote a text
            self._drop(f"a {type(error).__name__} while the record was made")
            return
        try:
            if prefix not in self._files:
                self._files[prefix] = LogFile(prefix)
            self._files[prefix].write(record)
        except OSError as error:
            self._fail(prefix, str(error), count=1)

    def _flush(self) -> None:
        """Hands everything to the operating system, and closes what is full, old or failing."""
        for prefix, file in list(self._files.items()):
            file.flush()
            if file.is_due(self._rotation):
                self._complete(prefix)

    def _complete(self, prefix: str) -> None:
        file = self._files.pop(prefix)
        try:
            lost = file.complete()
        except OSError as error:
            self._fail(prefix, f"{error}; what it holds is completed when a server starts", count=0)
            return
        if lost:
            self._fail(prefix, file.problem, count=lost)

    def _fail(self, prefix: str, reason: str, *, count: int) -> None:
        self._retry_at[prefix] = time.monotonic() + _RETRY_SECONDS
        self._drop(reason, count=count)

    def _drop(self, reason: str, *, count: int = 1) -> None:
        with self._lock:
            self._dropped += count
            dropped, now = self._dropped, time.monotonic()
            if now < self._tell_at:
                return
            self._tell_at = now + _TELL_SECONDS
        logger.error("requests are not logged, %d so far: %s", dropped, reason)


def _add_metadata(log: prediction_log_pb2.PredictionLog, entry: _Entry) -> None:
    metadata = log.log_metadata
    kind = log.WhichOneof("log_type")
    if kind and kind != "multi_inference_log":
        metadata.model_spec.CopyFrom(getattr(log, kind).response.model_spec)
    metadata.sampling_config.CopyFrom(entry.config.sampling_config)
    metadata.timestamp_secs = entry.second
    metadata.request_origin = entry.request_id
