"""Batching: its settings, and putting requests together and taking answers apart."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import os
from collections.abc import Sequence

import numpy as np

# Batches that run at the same time on a machine of many processors; the processors are shared among them.
_MAX_THREADS = 4


def usable_processors() -> int:
    """Those that this process may use, where the system tells (Linux does, macOS does not)."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_num_batch_threads() -> int:
    """One a processor, four at most."""
    return min(_MAX_THREADS, usable_processors())


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """What TF Serving's batching file may say, by its names.

    The defaults are ours, measured with a MiniLM classifier on two processors and sentences of mixed length:
    the processor time of a row falls from 4.8 ms alone to 3.1 ms in batches of 8 and hardly further (3.0 ms in
    batches of 16, which keep the last of many callers waiting longer: 32 clients got as many answers, but p99
    was 90 ms for 82); two batches on one thread each cost less than one batch on two (3.1 and 3.7 ms a row, and
    4.8 and 8 ms for a lone row). Choosing rows of like length for a batch saved about 5 %: not done.
    """

    max_batch_size: int = 8
    """Rows that run together at most."""

    batch_timeout_micros: int = 0
    """How long a batch that is not full waits for more rows; 0: not at all, what waits runs."""

    max_enqueued_batches: int = 64
    """Batches that may wait; a request that finds more rows waiting is refused with UNAVAILABLE."""

    num_batch_threads: int = dataclasses.field(default_factory=default_num_batch_threads)
    """Batches that run at the same time."""

    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes that a batch is padded up to: increasing, the last is max_batch_size; none: any size runs as it is."""

    enable_large_batch_splitting: bool = True
    """Whether a request of more than max_batch_size rows runs in pieces, or is refused."""

    max_request_rows: int = 0
    """Rows of one request at most, where requests run in pieces: a file's max_batch_size; 0: any number."""

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ValueError: names the key, its value and what it may be.
        """
        for key, least in _LEAST.items():
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}: give {least} or more")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes))):
            raise ValueError(f"allowed_batch_sizes is {list(sizes)}: give increasing numbers from 1 on")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                f"allowed_batch_sizes ends in {sizes[-1]}: the last one must be max_batch_size, "
                f"which is {self.max_batch_size}"
            )

    def padded_size(self, rows: int) -> int:
        """The size at which `rows` rows run: the next allowed one.

        >>> BatchingParameters(max_batch_size=8, allowed_batch_sizes=(2, 8)).padded_size(3)
        8
        """
        sizes = self.allowed_batch_sizes
        return sizes[bisect.bisect_left(sizes, rows)] if sizes and rows <= sizes[-1] else rows


_LEAST = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}


def merge(requests: Sequence[Sequence[np.ndarray]], *, padding: int = 0) -> list[np.ndarray]:
    """Puts the rows of several requests under each other.

    >>> merge([[np.array([1])], [np.array([2, 3])]], padding=1)
    [array([1, 2, 3, 1])]

    Args:
        requests: for each request its arrays, in the order of the inputs; alike but for the number of rows.
        padding: rows to add; the first row of all again, which a model has seen the like of.

    Returns:
        Array by input.
    """
    if len(requests) == 1 and not padding:
        return list(requests[0])
    return [np.concatenate([*arrays, *[arrays[0][:1]] * padding]) for arrays in zip(*requests, strict=True)]


def split(outputs: Sequence[np.ndarray], *, sizes: Sequence[int]) -> list[list[np.ndarray]]:
    """Takes the rows of a batch apart again; rows beyond the sum of `sizes` are padding.

    >>> split([np.array([1, 2, 3, 1])], sizes=[1, 2])
    [[array([1])], [array([2, 3])]]
    """
    ends = list(itertools.accumulate(sizes))
    starts = [0, *ends[:-1]]
    return [[output[a:b] for output in outputs] for a, b in zip(starts, ends, strict=True)]


def has_rows(arrays: Sequence[np.ndarray], *, rows: int) -> bool:
    """Whether every array has `rows` rows."""
    return all(array.ndim and array.shape[0] == rows for array in arrays)
