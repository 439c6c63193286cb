"""Texts as they are asked in service, beside what was trained on: the schema's environment SERVING, and skew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from bert_pipeline.components.schema import SERVING
from bert_pipeline.data.drift import Statistics, Threshold, compare
from bert_pipeline.data.text_features import TextFeatures, statistics_of

_NEW_COLUMN = anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN


def check_served(
    columns: Mapping[str, Sequence[bytes]],
    *,
    text: Sequence[str],
    features: TextFeatures,
    schema: schema_pb2.Schema,
    training: Statistics,
    limits: Mapping[str, Threshold],
) -> list[str]:
    """Compares served examples with the training data.

    Args:
        columns: name to one value for each example, b"" where it is missing; at least the text columns.
        text: names of the text columns.
        features: the task's tokenizer.
        schema: the curated schema; read in its environment SERVING, in which the label may be missing. A missing
            column that is no text harms nothing but slices, and is left out.
        training: statistics of the train split, with the derived columns.
        limits: of `drift_limits.thresholds(task, kind="skew")`.

    Returns:
        Sentences; empty where nothing is worth one.
    """
    if not columns[text[0]]:
        return []
    served = statistics_of({**columns, **features.columns([columns[name] for name in text])})
    is_set = SERVING in schema.default_environment
    anomalies = tfdv.validate_statistics(served, schema, environment=SERVING if is_set else None)
    notes = [
        f"served texts, column {name}: {(info.description or info.short_description).strip()}"
        for name, info in sorted(anomalies.anomaly_info.items())
        if (name in columns) and {reason.type for reason in info.reason} != {_NEW_COLUMN}
    ]
    for drift in compare(served, training, limits):
        if drift.is_breach:
            notes.append(
                f"served texts are not those of the training: {drift.explanation}; train on newer data"
            )
        elif drift.is_note:
            notes.append(f"served texts moved: {drift.explanation}")
    return notes
