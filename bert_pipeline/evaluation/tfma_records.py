"""TFMA's records -> `SliceMetrics`; a separate module because importing TFMA takes seconds."""

from __future__ import annotations

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from bert_pipeline import metrics
from bert_pipeline.evaluation import eval_config
from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.settings import metric_names


def read(evaluation_uri: str, *, labels: tuple[str, ...]) -> list[SliceMetrics]:
    """Metrics of each slice of an evaluation, without intervals.

    Args:
        evaluation_uri: uri of the ModelEvaluation artifact.
        labels: of the evaluation, in order.
    """
    return [_slice_metrics(record, labels=labels) for record in tfma.load_metrics(evaluation_uri)]


def _slice_metrics(record: metrics_for_slice_pb2.MetricsForSlice, *, labels: tuple[str, ...]) -> SliceMetrics:
    values: dict[str, dict[str, float]] = {eval_config.CANDIDATE: {}, eval_config.BASELINE: {}}
    confusion = np.zeros([len(labels), len(labels)], dtype=int)
    for item in record.metric_keys_and_values:
        if item.key.is_diff:
            continue
        is_baseline = item.key.model_name == eval_config.BASELINE
        kind = item.value.WhichOneof("type")
        if kind == "double_value":
            whose = eval_config.BASELINE if is_baseline else eval_config.CANDIDATE
            values[whose][item.key.name] = item.value.double_value.value
        elif item.key.name == metrics.CONFUSION_MATRIX and not is_baseline:
            for entry in item.value.multi_class_confusion_matrix_at_thresholds.matrices[0].entries:
                if entry.predicted_class_id >= 0:
                    count = round(entry.num_weighted_examples)
                    confusion[entry.actual_class_id, entry.predicted_class_id] = count
    candidate = values[eval_config.CANDIDATE]
    return SliceMetrics(
        slice=eval_config.slice_name(record.slice_key),
        columns=tuple(single.column for single in record.slice_key.single_slice_keys),
        num_examples=round(candidate.get(metric_names.EXAMPLE_COUNT, 0.0)),
        metrics=candidate,
        baseline=values[eval_config.BASELINE],
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        labels=labels,
    )
