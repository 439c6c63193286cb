"""The arithmetic of the metrics: counts of answers and probabilities -> accuracy, F1, AUC, calibration, loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bert_pipeline.settings import metric_names

# Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5: 15 bins of equal width.
NUM_CALIBRATION_BINS = 15

# Probabilities are clipped here before the logarithm, as Keras does (tf_keras.backend.epsilon).
_EPSILON = 1e-7

# The AUC counts scores in bins of their log-odds, because a fine-tuned BERT crowds its probabilities at 0 and 1:
# float32 resolves log-odds up to about 17 (1 - 2**-24), so 680 bins of 0.05 keep almost the full order.
_MAX_LOG_ODDS = 17.0
_NUM_AUC_BINS = 680


def scores_from_confusion(matrix: np.ndarray, labels: Iterable[str]) -> dict[str, float]:
    """Computes metrics from a confusion matrix.

    Args:
        matrix: float [num_labels, num_labels]; examples by true label (row) and predicted label (column).
        labels: names of the labels, in order.

    Returns:
        example_count, accuracy, precision/<label> (NaN if a label is never predicted), recall/<label> (NaN
        if no example has it) and macro_f1: the mean F1 over the labels that are true or predicted at
        least once, as in scikit-learn's `f1_score(average="macro")`.
    """
    right, true, answered = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = (true + answered) > 0
    f1 = _divide(2 * right, true + answered)
    total = matrix.sum()
    scores = {
        metric_names.EXAMPLE_COUNT: float(total),
        metric_names.ACCURACY: float(right.sum() / total) if total else math.nan,
        metric_names.MACRO_F1: float(f1[occurs].mean()) if occurs.any() else math.nan,
    }
    for label, precision, recall in zip(labels, _divide(right, answered), _divide(right, true), strict=True):
        scores[metric_names.per_label("precision", label)] = float(precision)
        scores[metric_names.per_label("recall", label)] = float(recall)
    return scores


def cost_matrix(costs: Mapping[str, Mapping[str, float]], labels: Iterable[str]) -> np.ndarray:
    """Costs by label names -> float [num_labels, num_labels], by true (row) and predicted label (column).

    Example:
        >>> cost_matrix({"bad": {"good": 5.0}}, ["bad", "good"]).tolist()
        [[0.0, 5.0], [1.0, 0.0]]
    """
    labels = list(labels)
    matrix = 1.0 - np.eye(len(labels))
    for actual, row in costs.items():
        for answered, cost in row.items():
            matrix[labels.index(actual), labels.index(answered)] = cost
    return matrix


def expected_cost(matrix: np.ndarray, costs: np.ndarray) -> float:
    """Mean cost per example; NaN without examples (Elkan 2001, "The Foundations of Cost-Sensitive Learning").

    Args:
        matrix: float [num_labels, num_labels], see `scores_from_confusion`.
        costs: of `cost_matrix`.
    """
    total = matrix.sum()
    return float((matrix * costs).sum() / total) if total else math.nan


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), math.nan), where=denominator > 0)


def auc_from_counts(counts: np.ndarray) -> float:
    """Macro one-versus-rest area under the ROC curve.

    Args:
        counts: int [2, num_labels, num_bins]; examples by "has the label" (1) or not (0), label, and bin of the
            label's score. Ties count as half (the Mann-Whitney statistic).

    Returns:
        Mean over the labels that some but not all examples have; NaN if there are none.
    """
    negatives, positives = counts.astype(np.float64)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    areas = _divide((positives * (below + negatives / 2)).sum(axis=1), pairs)
    return float(np.nanmean(areas)) if (pairs > 0).any() else math.nan


@dataclasses.dataclass
class Tally:
    """Running sums over the examples of a slice."""

    auc_counts: np.ndarray
    """int32 [2, num_labels, bins], see `auc_from_counts`."""

    calibration: np.ndarray
    """float64 [3, NUM_CALIBRATION_BINS]: examples, right answers, sum of confidence."""

    loss: float = 0.0

    @classmethod
    def empty(cls, num_labels: int) -> Tally:
        """An empty tally."""
        return cls(
            auc_counts=np.zeros([2, num_labels, _NUM_AUC_BINS], dtype=np.int32),
            calibration=np.zeros([3, NUM_CALIBRATION_BINS]),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Serializes without the empty bins, which are most: tallies are sent between workers."""
        filled = np.flatnonzero(self.auc_counts)
        counts = (self.auc_counts.shape, filled.astype(np.int32), self.auc_counts.ravel()[filled])
        return {"counts": counts, "calibration": self.calibration, "loss": self.loss}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the empty bins."""
        shape, filled, counts = state["counts"]
        self.auc_counts = np.zeros(shape, dtype=np.int32)
        self.auc_counts.ravel()[filled] = counts
        self.calibration, self.loss = state["calibration"], state["loss"]

    def add(self, label_id: int, probabilities: np.ndarray) -> None:
        """Counts one example.

        Args:
            label_id: position of the true label.
            probabilities: float [num_labels], summing to 1.

        Raises:
            ValueError: the label id is out of range; -1 is a missing or an unknown label.
        """
        num_labels = self.auc_counts.shape[1]
        if not 0 <= label_id < num_labels or len(probabilities) != num_labels:
            raise ValueError(
                f"label_id is {label_id} beside {len(probabilities)} probabilities, and the task has {num_labels} "
                "labels; every example that is evaluated needs a label of data.labels"
            )
        self.loss -= float(np.log(np.clip(probabilities[label_id], _EPSILON, 1.0)))
        if not np.isfinite(probabilities).all():
            self.loss = math.nan
            return
        answer = int(np.argmax(probabilities))
        bin_id = min(int(probabilities[answer] * NUM_CALIBRATION_BINS), NUM_CALIBRATION_BINS - 1)
        self.calibration[:, bin_id] += (1.0, float(answer == label_id), float(probabilities[answer]))
        bins = log_odds_bins(probabilities)
        self.auc_counts[0, np.arange(num_labels), bins] += 1
        self.auc_counts[0, label_id, bins[label_id]] -= 1
        self.auc_counts[1, label_id, bins[label_id]] += 1

    def merge(self, other: Tally) -> None:
        """Adds another tally to this one."""
        self.auc_counts += other.auc_counts
        self.calibration += other.calibration
        self.loss += other.loss

    def scores(self) -> dict[str, float]:
        """loss, calibration_error and auc; NaN if a probability was NaN or there are no examples."""
        count = self.calibration[0].sum()
        if math.isnan(self.loss) or not count:
            return dict.fromkeys(
                (metric_names.LOSS, metric_names.CALIBRATION_ERROR, metric_names.AUC), math.nan
            )
        gaps = np.abs(self.calibration[1] - self.calibration[2])
        return {
            metric_names.LOSS: self.loss / float(count),
            metric_names.CALIBRATION_ERROR: float(gaps.sum() / count),
            metric_names.AUC: auc_from_counts(self.auc_counts),
        }


def losses(label_ids: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cross entropy of each example, natural logarithm: int [n], float [n, num_labels] -> float [n]."""
    of_truth = probabilities[np.arange(len(label_ids)), label_ids]
    return np.asarray(-np.log(np.clip(of_truth, _EPSILON, 1.0)))


def log_odds_bins(probabilities: np.ndarray) -> np.ndarray:
    """Float [..., num_labels] -> int, same shape, from 0 (lowest score) to _NUM_AUC_BINS - 1 (highest)."""
    # float64 first: 1 - p of a float32 just under 1 would lose its last bits.
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    share = (np.log(p) - np.log1p(-p) + _MAX_LOG_ODDS) / (2 * _MAX_LOG_ODDS)
    return np.clip((share * _NUM_AUC_BINS).astype(np.int64), 0, _NUM_AUC_BINS - 1)
