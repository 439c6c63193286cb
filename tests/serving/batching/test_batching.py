"""Batching parameters that cannot be, and rows that are put together and taken apart."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from serving.model_server.batching import scheduler
from serving.model_server.config import settings
from serving.model_server.config.settings import BatchingParameters


def test_where_the_system_does_not_tell_which_processors_are_ours_all_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """macOS has no sched_getaffinity."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert settings.usable_processors() == 3
    assert settings.default_num_batch_threads() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert settings.default_num_batch_threads() == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0: give 1 or more"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros is -1: give 0 or more"),
        ({"num_batch_threads": 0}, "num_batch_threads is 0: give 1 or more"),
        ({"max_enqueued_batches": 0}, "max_enqueued_batches is 0: give 1 or more"),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)},
            r"allowed_batch_sizes is \[4, 2, 8\]: give increasing numbers",
        ),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
            "allowed_batch_sizes ends in 4: the last one must be max_batch_size, which is 8",
        ),
    ],
)
def test_b1_settings_that_cannot_be_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingParameters(**values)


def test_rows_are_put_together_and_taken_apart() -> None:
    one, two = [np.array([b"a"], object)], [np.array([b"b", b"c"], object)]
    (merged,) = scheduler.merge([one, two], padding=2)
    assert merged.tolist() == [b"a", b"b", b"c", b"a", b"a"]
    parts = scheduler.split([merged], sizes=[1, 2])
    assert [[array.tolist() for array in part] for part in parts] == [[[b"a"]], [[b"b", b"c"]]]
