"""TFRecord files that grow: hidden from readers while they are written, and recovered after a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import itertools
import logging
import os
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import tensorflow as tf

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
            Records that are lost; `problem` tells why.

        Raises:
            OSError: the file cannot be cut or renamed; `recover` may have better luck.
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
    """An empty file, locked: a server that starts meanwhile sees that it is no leftover."""
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
    """Gives a file its final name; away with it where it holds nothing."""
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
