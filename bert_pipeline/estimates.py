"""A measured value and how sure it is: standard errors of TFMA -> confidence intervals."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np

from bert_pipeline import scores

# TFMA takes 20 jackknife parts or bootstrap samples (its evaluator's _DEFAULT_NUM_JACKKNIFE_BUCKETS), and so
# knows a standard error with 19 degrees of freedom.
DEGREES_OF_FREEDOM = 19

# What the summary shows.
SHOWN_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its standard error."""

    value: float
    """NaN where it is not defined."""

    std_error: float = math.inf
    """Infinite where it is not known."""

    def half_width(self, confidence: float) -> float:
        """Half of the two-sided interval of this confidence (0 to 1)."""
        return self.std_error * t_quantile((1 + confidence) / 2, degrees_of_freedom=DEGREES_OF_FREEDOM)

    def low(self, confidence: float) -> float:
        """Lower end of the interval."""
        return self.value - self.half_width(confidence)

    def high(self, confidence: float) -> float:
        """Upper end of the interval."""
        return self.value + self.half_width(confidence)


def t_quantile(probability: float, *, degrees_of_freedom: int) -> float:
    """Quantile of Student's t distribution, to four digits where there are ten degrees of freedom or more.

    Abramowitz and Stegun 1964, "Handbook of Mathematical Functions", 26.7.5.

    Example:
        >>> round(t_quantile(0.975, degrees_of_freedom=19), 3)
        2.093
    """
    z, n = NormalDist().inv_cdf(probability), degrees_of_freedom
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / n**power for power, term in enumerate(terms))


def estimate(value: float, std_error: float | None, *, step: float) -> Estimate:
    """An estimate whose standard error is at least what one example can change.

    Where every answer is right, each jackknife part says 1.0 and the standard error is 0: 4 right answers of 4
    would be as sure as 4,000 of 4,000. A share of n examples has a standard error under 1 / n only where less
    than about one of them goes the other way, which n examples cannot know.

    Args:
        value: measured.
        std_error: TFMA's; None or NaN where it could not be computed (fewer examples than it needs).
        step: of `one_example`.
    """
    if std_error is None or math.isnan(std_error):
        return Estimate(value)
    return Estimate(value, max(std_error, step))


def one_example(metric: str, *, confusion: np.ndarray, labels: tuple[str, ...], costs: np.ndarray) -> float:
    """How far one example more or less can move a metric.

    Args:
        metric: its name.
        confusion: float [num_labels, num_labels]; examples by true label (row) and answered label (column).
        labels: names of the labels, in order.
        costs: of `scores.cost_matrix`.

    Returns:
        For shares of examples 1 / n, n being those the share is of; 0 for loss, which has no upper bound.
    """
    kind, _, label = metric.partition("/")
    if metric == scores.LOSS:
        return 0.0
    if kind in ("recall", "precision") and label in labels:
        count = confusion.sum(axis=1 if kind == "recall" else 0)[labels.index(label)]
    else:
        count = confusion.sum()
    span = float(costs.max() - costs.min()) if metric == scores.EXPECTED_COST else 1.0
    return span / float(count) if count else math.inf
