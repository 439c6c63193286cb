"""TFDV statistics as table rows, one per data column: the content of Facets, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from bert_pipeline.data.text_features import DERIVED

# Values named of a column of strings.
_NUM_TOP = 4


def statistics_rows(
    statistics: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList],
) -> list[dict[str, Any]]:
    """Describes every column of every split.

    Args:
        statistics: by the name of the split, each with one dataset.

    Returns:
        For each column and split: column, split, examples, missing (share, 0 to 1), values (distinct strings; empty for
        numbers), mean, min, max (numbers; empty for strings) and top (the most frequent strings with their shares).
    """
    rows = [
        _row(split, column, num_examples=int(dataset.num_examples))
        for split, found in statistics.items()
        for dataset in found.datasets
        for column in dataset.features
    ]
    return sorted(rows, key=lambda row: row["column"])


def of_the_data(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The same without columns derived from texts: a schema has only the data's columns."""
    result = statistics_pb2.DatasetFeatureStatisticsList()
    for dataset in statistics.datasets:
        kept = result.datasets.add()
        kept.CopyFrom(dataset)
        del kept.features[:]
        kept.features.extend(f for f in dataset.features if _name(f) not in DERIVED)
    return result


def _name(column: statistics_pb2.FeatureNameStatistics) -> str:
    return ".".join(column.path.step) or str(column.name)


def _row(split: str, column: statistics_pb2.FeatureNameStatistics, *, num_examples: int) -> dict[str, Any]:
    kind = column.WhichOneof("stats")
    common = getattr(column, kind).common_stats
    row: dict[str, Any] = {
        "column": _name(column),
        "split": split,
        "examples": num_examples,
        "missing": round(1 - common.num_non_missing / num_examples, 4) if num_examples else 0.0,
    }
    numbers, strings = column.num_stats, column.string_stats
    if kind == "num_stats":
        return row | {"mean": round(numbers.mean, 4), "min": numbers.min, "max": numbers.max}
    top = (f"{v.value[:30]} {v.frequency / num_examples:.1%}" for v in strings.top_values[:_NUM_TOP])
    return row | {"values": strings.unique, "top": ", ".join(top)}
