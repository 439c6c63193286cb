"""`scores` as TFMA metrics, for the Evaluator.

TFMA's CategoricalAccuracy is always 1.0 for a one-column model, its confusion matrix ignores answers
under 0.5, and its AUC of 77 classes is 77 metrics. The Evaluator finds these classes by import
(`MetricConfig.module`). An undefined metric (precision of a label that is never predicted) is NaN, and a
threshold on NaN always refuses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from bert_pipeline.judging import scores
from bert_pipeline.judging.scores import Tally
from bert_pipeline.settings.metric_names import (
    ACCURACY,
    AUC,
    CALIBRATION_ERROR,
    EXAMPLE_COUNT,
    EXPECTED_COST,
    LOSS,
    MACRO_F1,
    per_label,
)

CONFUSION_MATRIX = "multi_class_confusion_matrix_at_thresholds"


def config_json(metric: tfma.metrics.Metric) -> str:
    """A metric's arguments in the form of `MetricConfig.config`."""
    return json.dumps(metric.get_config(), sort_keys=True)


class ConfusionScores(tfma.metrics.Metric):
    """The confusion matrix of the most probable label, and its metrics (`scores.scores_from_confusion`)."""

    def __init__(
        self, labels: list[str], costs: list[list[float]] | None = None, name: str = "confusion_scores"
    ) -> None:
        """Makes the metric.

        Args:
            labels: names of the labels, in order.
            costs: `scores.cost_matrix` as lists; None for no expected_cost.
            name: of the group; the single metrics have fixed names.
        """
        super().__init__(
            tfma.metrics.merge_per_key_computations(_confusion_scores), labels=labels, costs=costs, name=name
        )


def _confusion_scores(
    labels: list[str],
    costs: list[list[float]] | None = None,
    name: str = "",
    eval_config: Any = None,
    model_name: str = "",
) -> tfma.metrics.MetricComputations:
    # At TFMA's default threshold of 0.5, a label with 0.4 of three labels would be "no answer".
    matrix_metric = tfma.metrics.MultiClassConfusionMatrixAtThresholds(
        thresholds=[0.0], name=CONFUSION_MATRIX
    )
    computations = matrix_metric.computations(eval_config=eval_config, model_names=[model_name])
    matrix_key = computations[-1].keys[-1]
    loss_key = _key(LOSS, model_name)
    derived = [EXAMPLE_COUNT, ACCURACY, MACRO_F1, *([EXPECTED_COST] if costs else [])]
    derived += [per_label(kind, label) for kind in ("precision", "recall") for label in labels]

    def result(metrics: dict[tfma.metrics.MetricKey, Any]) -> dict[tfma.metrics.MetricKey, float]:
        matrix = np.zeros([len(labels), len(labels)])
        for (actual, answered), count in metrics[matrix_key][0.0].items():
            if answered >= 0:
                matrix[actual, answered] += count
        values = scores.scores_from_confusion(matrix, labels)
        if costs:
            values[EXPECTED_COST] = scores.expected_cost(matrix, np.array(costs))
        if math.isnan(metrics[loss_key]):
            # A probability is NaN. numpy's argmax selects it, which would count as an answer.
            values.update({key: math.nan for key in values if key != EXAMPLE_COUNT})
        return {_key(key, model_name): value for key, value in values.items()}

    keys = [_key(key, model_name) for key in derived]
    return [
        *_probability_scores(len(labels), eval_config=eval_config, model_name=model_name),
        *computations,
        tfma.metrics.DerivedMetricComputation(keys=keys, result=result),
    ]


class ProbabilityScores(tfma.metrics.Metric):
    """Cross entropy, expected calibration error of the most probable label, and macro one-versus-rest AUC."""

    def __init__(self, num_labels: int, name: str = "probability_scores") -> None:
        """Makes the metric.

        Args:
            num_labels: number of labels, which is the number of probabilities of an example.
            name: of the group; the single metrics have fixed names.
        """
        super().__init__(
            tfma.metrics.merge_per_key_computations(_probability_scores), num_labels=num_labels, name=name
        )


def _probability_scores(
    num_labels: int, name: str = "", eval_config: Any = None, model_name: str = ""
) -> tfma.metrics.MetricComputations:
    combiner = _ProbabilityCombiner(num_labels=num_labels, eval_config=eval_config, model_name=model_name)
    keys = [_key(metric, model_name) for metric in (LOSS, CALIBRATION_ERROR, AUC)]
    return [tfma.metrics.MetricComputation(keys=keys, preprocessors=None, combiner=combiner)]


def _key(metric: str, model_name: str) -> tfma.metrics.MetricKey:
    # Thresholds of a MetricsSpec are looked up with None here; with MetricKey's default no metric has a threshold.
    return tfma.metrics.MetricKey(name=metric, model_name=model_name, example_weighted=None)


class _ProbabilityCombiner(beam.CombineFn):
    """Sums `Tally` over a slice."""

    def __init__(self, *, num_labels: int, eval_config: Any, model_name: str) -> None:
        self._num_labels = num_labels
        self._eval_config = eval_config
        self._model_name = model_name

    def create_accumulator(self) -> Tally:
        return Tally.empty(self._num_labels)

    def add_input(self, accumulator: Tally, element: tfma.metrics.StandardMetricInputs) -> Tally:
        label_id, probabilities, _ = next(
            tfma.metrics.to_label_prediction_example_weight(
                element, eval_config=self._eval_config, model_name=self._model_name, flatten=False
            )
        )
        accumulator.add(int(np.asarray(label_id).reshape([-1])[0]), probabilities)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Tally]) -> Tally:
        merged = Tally.empty(self._num_labels)
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Tally) -> dict[tfma.metrics.MetricKey, float]:
        return {_key(metric, self._model_name): value for metric, value in accumulator.scores().items()}
