"""Columns in memory -> TFDV's statistics, without a pipeline: for request logs, tables of some size, and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import statistics_pb2

Column = Sequence[bytes] | Sequence[int] | Sequence[float]


def statistics_of(columns: Mapping[str, Column]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Statistics as StatisticsGen writes them, of columns that fit into memory.

    Args:
        columns: name to one value for each example; b"" is a missing value.

    Returns:
        A list of one dataset, for `drift.compare` or TFDV.
    """
    arrays = [
        pa.array([[] if value == b"" else [value] for value in values], type=_type(values))
        for values in columns.values()
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())


def _type(values: Column) -> pa.DataType:
    first = next(iter(values), b"")
    if isinstance(first, bytes):
        return pa.large_list(pa.large_binary())
    return pa.large_list(pa.int64() if isinstance(first, int) else pa.float32())
