"""Metrics on a set of examples: value, interval, change from the baseline, and p-value.

Three kinds of metrics. Shares of examples (accuracy, recall/<label>): Wilson's interval, and McNemar's exact test of a
change. Other functions of counts (macro_f1, precision/<label>, expected_cost): intervals from a Bayesian bootstrap
(Rubin 1981) of the counts, and a test of a change that swaps both models' answers at random (Noreen 1989,
"Computer-Intensive Methods for Testing Hypotheses"; Yeh 2000 for F1). Means over the examples (loss, and to first order
calibration_error and auc: DeLong, DeLong and Clarke-Pearson 1988): Student's t.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import stats

from bert_pipeline.judging import intervals
from bert_pipeline.judging.answers import Answers
from bert_pipeline.judging.counts import (
    NUM_DRAWS,
    SEED,
    compare_counts,
    confusion,
    costliest,
    counts_interval,
    drawn_values,
    value_of_counts,
)
from bert_pipeline.judging.intervals import SHOWN_CONFIDENCE, Interval
from bert_pipeline.judging.means import auc_by_chance, auc_error, contributions, mean_by_chance
from bert_pipeline.settings import metric_names

# Up to this many examples, means are also tested by random swaps: DeLong's error is too small for a rare label (with 50
# examples, 5 % of them with the rare label, it refused 8 to 10 % of equal models), and a few large losses make
# Student's t refuse 6 to 8 %.
_FEW = 500


@dataclasses.dataclass(frozen=True)
class Change:
    """Candidate minus baseline on the same examples, with p-values."""

    value: float
    """NaN if undefined."""

    p_lower: float
    """Chance of a change this low or lower under the null hypothesis."""

    p_higher: float
    """Chance of a change this high or higher."""

    spread: float
    """Standard deviation of the change under the null hypothesis; 0 if the models agree on every example."""

    num_examples: int
    """Examples that the metric counts: for recall/<label>, those with the label."""

    num_different: int
    """Of these, the examples that only one model gets right."""


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Metrics of a set of examples."""

    answers: Answers
    costs: np.ndarray
    """float [num_labels, num_labels], of `scores.cost_matrix`."""

    def value(self, metric: str, *, of_baseline: bool = False) -> float:
        """A metric's value; NaN if undefined or if a probability is NaN."""
        if not len(self.answers) or not np.isfinite(self._probabilities(of_baseline)).all():
            return math.nan
        if _is_mean(metric):
            return self._contributions(metric, of_baseline)[1]
        table = confusion(self.answers.label_ids, self._answered(of_baseline), len(self.answers.labels))
        return value_of_counts(metric, table, labels=self.answers.labels, costs=self.costs)

    def interval(self, metric: str, *, confidence: float = SHOWN_CONFIDENCE) -> Interval:
        """The candidate's value with its two-sided interval."""
        value = self.value(metric)
        if math.isnan(value):
            return Interval(value)
        if _is_mean(metric):
            parts = self._contributions(metric, False)[0]
            if metric == metric_names.AUC:
                error = auc_error(self.answers.label_ids, self.answers.candidate, parts)
                half = float(stats.norm.isf((1 - confidence) / 2)) * error
                return Interval(value, max(value - half, 0.0), min(value + half, 1.0))
            return intervals.mean_interval(parts, value=value, confidence=confidence)
        table = confusion(self.answers.label_ids, self._answered(False), len(self.answers.labels))
        return counts_interval(
            metric, table, labels=self.answers.labels, costs=self.costs, confidence=confidence
        )

    def change_interval(self, metric: str, *, confidence: float = SHOWN_CONFIDENCE) -> Interval:
        """Two-sided interval of candidate minus baseline; requires a baseline."""
        change = self.value(metric) - self.value(metric, of_baseline=True)
        if math.isnan(change):
            return Interval(change)
        if _is_mean(metric):
            new, old = (self._contributions(metric, of_baseline)[0] for of_baseline in (False, True))
            return intervals.mean_interval(new - old, value=change, confidence=confidence)
        if _is_share(metric):
            return intervals.paired_share_interval(*self._gained_lost_of(metric), confidence=confidence)
        # Bayesian bootstrap of the counts, with one example added each way, as for a share.
        true, new, old, counts = self._kinds()
        more = np.unique(true)
        wrong = costliest(self.costs)[more]
        true, new, old = (
            np.concatenate(parts) for parts in ((true, more, more), (new, wrong, more), (old, more, wrong))
        )
        prior = np.bincount(self.answers.label_ids, minlength=len(self.costs))[more] / len(self.answers)
        weights = np.concatenate([counts, prior, prior])
        drawn = np.random.default_rng(SEED).standard_gamma(weights, size=(NUM_DRAWS, len(true)))
        how: dict[str, Any] = {"labels": self.answers.labels, "costs": self.costs}
        draws = drawn_values(metric, drawn, true, new, **how) - drawn_values(metric, drawn, true, old, **how)
        return intervals.drawn_interval(change, draws, confidence=confidence)

    def change(self, metric: str) -> Change:
        """The change from the baseline; requires a baseline.

        If only one model has an undefined precision, because it never predicts the label, it counts as 0.
        """
        values = self.value(metric), self.value(metric, of_baseline=True)
        if metric.startswith("precision/") and np.isfinite(values).any():
            values = tuple(np.nan_to_num(values))
        change = values[0] - values[1]
        if math.isnan(change):
            return Change(math.nan, 1.0, 1.0, math.nan, len(self.answers), 0)
        if _is_mean(metric):
            return self._change_of_means(metric, change)
        if _is_share(metric):
            gained, lost, total = self._gained_lost_of(metric)
            return Change(
                change,
                p_lower=intervals.sign_p_value(gained, lost),
                p_higher=intervals.sign_p_value(lost, gained),
                spread=math.sqrt(gained + lost) / total,
                num_examples=total,
                num_different=gained + lost,
            )
        return self._change_of_counts(metric, change)

    def _probabilities(self, of_baseline: bool) -> np.ndarray:
        found = self.answers.baseline if of_baseline else self.answers.candidate
        assert found is not None, "no baseline was evaluated"
        return found

    def _answered(self, of_baseline: bool) -> np.ndarray:
        return self._probabilities(of_baseline).argmax(axis=1)

    def _contributions(self, metric: str, of_baseline: bool) -> tuple[np.ndarray, float]:
        return contributions(metric, self.answers.label_ids, self._probabilities(of_baseline))

    def _gained_lost_of(self, metric: str) -> tuple[int, int, int]:
        """Counts of examples that only the candidate gets right, that only the baseline gets right, and of all."""
        ids, asked = self.answers.label_ids, np.ones(len(self.answers), bool)
        if metric != metric_names.ACCURACY:
            asked = ids == self.answers.labels.index(metric.partition("/")[2])
        new, old = (self._answered(of_baseline) == ids for of_baseline in (False, True))
        return tuple(int(np.count_nonzero(each & asked)) for each in (new & ~old, old & ~new, asked))  # type: ignore[return-value]

    def _kinds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Int [num_kinds] each: true label, candidate's answer, baseline's answer, and number of examples."""
        cells = np.stack([self.answers.label_ids, self._answered(False), self._answered(True)])
        kinds, counts = np.unique(cells, axis=1, return_counts=True)
        return kinds[0], kinds[1], kinds[2], counts

    def _change_of_means(self, metric: str, change: float) -> Change:
        new, old = (self._contributions(metric, of_baseline)[0] for of_baseline in (False, True))
        p_values = intervals.mean_p_value(new - old), intervals.mean_p_value(old - new)
        if len(self.answers) <= _FEW:
            by_chance = (
                auc_by_chance(self.answers) if metric == metric_names.AUC else mean_by_chance(new - old)
            )
            p_values = (
                intervals.drawn_p_value(change, by_chance),
                intervals.drawn_p_value(-change, -by_chance),
            )
        return Change(
            change,
            p_lower=p_values[0],
            p_higher=p_values[1],
            spread=float(np.std(new - old)) / math.sqrt(len(self.answers)),
            num_examples=len(self.answers),
            num_different=int(np.count_nonzero(new != old)),
        )

    def _change_of_counts(self, metric: str, change: float) -> Change:
        """Tests by random swaps of the two models' answers to each example."""
        true, new, old, counts = self._kinds()
        differ = new != old
        swapped = np.zeros([NUM_DRAWS, len(counts)], dtype=int)
        generator = np.random.default_rng(SEED)
        swapped[:, differ] = generator.binomial(counts[differ], 0.5, size=(NUM_DRAWS, int(differ.sum())))
        sides, both = np.concatenate([counts - swapped, swapped], axis=1), np.tile(true, 2)
        how: dict[str, Any] = {"labels": self.answers.labels, "costs": self.costs}
        first = drawn_values(metric, sides, both, np.concatenate([new, old]), **how)
        second = drawn_values(metric, sides, both, np.concatenate([old, new]), **how)
        if metric.startswith("precision/"):
            first, second = np.nan_to_num(first), np.nan_to_num(second)
        by_chance = first - second
        return Change(
            change,
            p_lower=intervals.drawn_p_value(change, by_chance),
            p_higher=intervals.drawn_p_value(-change, -by_chance),
            spread=float(np.nanstd(by_chance)),
            num_examples=len(self.answers),
            num_different=int(counts[(new == true) != (old == true)].sum()),
        )


@dataclasses.dataclass(frozen=True)
class Gap:
    """A metric on a slice compared with the rest of the examples."""

    here: float
    rest: float
    behind: Interval
    """How much worse the slice is; negative if better."""

    p_behind: float
    """Chance of a gap this large under the null hypothesis."""


def gap(metric: str, here: Metrics, rest: Metrics) -> Gap:
    """Compares a metric on a slice with the same metric on the examples outside it.

    Fisher's exact test for shares, Welch's t for means, a permutation test for the others.
    """
    values = here.value(metric), rest.value(metric)
    sign = 1.0 if metric in metric_names.LOWER_IS_BETTER else -1.0
    behind = sign * (values[0] - values[1])
    if math.isnan(behind):
        return Gap(*values, Interval(math.nan), 1.0)
    if _is_mean(metric):
        parts = [
            sign * contributions(metric, side.answers.label_ids, side.answers.candidate)[0]
            for side in (here, rest)
        ]
        if min(map(len, parts)) < 2 or not any(part.std() for part in parts):
            return Gap(*values, Interval(behind), 1.0)
        test = stats.ttest_ind(*parts, equal_var=False, alternative="greater")
        low, high = test.confidence_interval(SHOWN_CONFIDENCE)
        del high  # one-sided
        return Gap(*values, Interval(behind, float(low), 2 * behind - float(low)), float(test.pvalue))
    tables = [
        confusion(side.answers.label_ids, side.answers.candidate.argmax(axis=1), len(side.answers.labels))
        for side in (here, rest)
    ]
    known, p_value = compare_counts(metric, *tables, labels=here.answers.labels, costs=here.costs)
    return Gap(*values, known, p_value)


def _is_share(metric: str) -> bool:
    """Whether the metric is a share of examples that are the same for both models."""
    return metric == metric_names.ACCURACY or metric.startswith("recall/")


def _is_mean(metric: str) -> bool:
    return metric in (metric_names.LOSS, metric_names.CALIBRATION_ERROR, metric_names.AUC)
