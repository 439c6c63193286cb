"""Intervals and p-values beside scipy's own, published examples and figures by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bert_pipeline.judging import intervals
from bert_pipeline.judging.intervals import Interval


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (4, 4), (40, 50), (1, 1000)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_a_share_has_wilsons_interval(hits: int, trials: int, confidence: float) -> None:
    found = intervals.share_interval(hits, trials, confidence=confidence)
    low, high = stats.binomtest(hits, trials).proportion_ci(confidence, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((hits / trials, low, high))
    assert found.low <= found.value <= found.high


def test_all_right_of_a_few_is_less_sure_than_of_many() -> None:
    assert intervals.share_interval(4, 4).low == pytest.approx(0.5101, abs=1e-4)
    assert intervals.share_interval(4000, 4000).low > 0.999
    assert not intervals.share_interval(0, 0).is_known


def test_the_difference_of_two_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, first column: 56 of 70 beside 48 of 80 is 0.0524 to 0.3339 by method 10.
    found = intervals.difference_interval(intervals.share_interval(56, 70), intervals.share_interval(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_a_change_on_the_same_examples_is_bonetts_and_prices() -> None:
    # By hand: 11 and 5 of 102 beside one another; 0.0588 +- 1.96 * sqrt((16/102 - (6/102)^2) / 102).
    found = intervals.paired_share_interval(10, 4, 100)
    half = 1.959964 * math.sqrt((16 / 102 - (6 / 102) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((6 / 102 - half, 6 / 102 + half))
    assert found.value == 0.06
    assert intervals.paired_share_interval(0, 0, 10).half_width > 0.1  # equal on ten examples is not equal


def test_the_exact_tests_are_scipys() -> None:
    assert intervals.sign_p_value(3, 9) == pytest.approx(stats.binomtest(3, 12, alternative="less").pvalue)
    assert intervals.sign_p_value(0, 0) == 1.0
    table = [[30, 20], [45, 5]]
    exact = stats.fisher_exact(table, alternative="less").pvalue
    own = stats.hypergeom.pmf(30, 100, 75, 50)
    assert intervals.shares_p_value(30, 50, 45, 50) == pytest.approx(exact - own / 2)
    assert intervals.shares_p_value(0, 0, 45, 50) == 1.0
    parts = np.array([0.1, -0.2, -0.3, 0.05, -0.4])
    assert intervals.mean_p_value(parts) == pytest.approx(
        stats.ttest_1samp(parts, 0, alternative="less").pvalue
    )
    low, high = stats.ttest_1samp(parts, 0).confidence_interval(0.95)
    found = intervals.mean_interval(parts, value=float(parts.mean()))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_too_few_examples_say_nothing() -> None:
    assert intervals.mean_p_value(np.array([-5.0])) == 1.0
    assert intervals.mean_p_value(np.zeros(10)) == 1.0
    assert not intervals.mean_interval(np.array([1.0]), value=1.0).is_known


def test_draws_are_counted_and_beyond_them_their_tail_says_more() -> None:
    draws = np.linspace(-1, 1, 2001)
    assert intervals.drawn_p_value(-0.9, draws) == pytest.approx(102 / 2002)
    normal = np.random.default_rng(0).normal(size=2000)
    assert intervals.drawn_p_value(-6.0, normal) == pytest.approx(1e-9, rel=3)
    assert intervals.drawn_p_value(-math.inf, np.zeros(2000)) == pytest.approx(1 / 2001)
    assert intervals.drawn_p_value(math.nan, draws) == 1.0
    assert intervals.drawn_interval(0.5, draws) == Interval(0.5, pytest.approx(-0.95), pytest.approx(1.45))


def test_ten_draws_are_counted_and_of_fewer_the_normal_tail_is_taken() -> None:
    draws = np.arange(100.0)
    assert intervals.drawn_p_value(9.0, draws) == 11 / 101
    assert intervals.drawn_p_value(8.0, draws) == pytest.approx(stats.norm.cdf((8 - 49.5) / draws.std()))
    # Five of 100 at 0, and a long tail above: the normal tail, 0.27, is more than ten of them would be.
    assert intervals.drawn_p_value(0.0, np.repeat([0.0, 1, 10], [5, 85, 10])) == 10 / 100
    assert intervals.drawn_p_value(-1.0, np.zeros(9)) == 1 / 10
    assert intervals.drawn_p_value(0.0, np.array([math.nan, math.inf])) == 1.0
    assert intervals.drawn_p_value(0.0, np.array([0.0] * 12 + [math.nan])) == 1.0
    assert (
        intervals.drawn_p_value(0.1 + 0.2, np.array([0.3] * 10 + [1.0] * 10)) == 11 / 21
    )  # but for the last bit


def test_an_interval_of_draws_holds_the_value_whichever_side_they_lie_on() -> None:
    draws = np.linspace(0, 1, 1001)
    assert intervals.drawn_interval(0.5, draws, confidence=0.9) == Interval(
        0.5, pytest.approx(0.05), pytest.approx(0.95)
    )
    # Their own quantiles, and as far around the value as they lie around their mean.
    assert intervals.drawn_interval(0.9, draws, confidence=0.9) == Interval(
        0.9, pytest.approx(0.05), pytest.approx(1.35)
    )
    assert intervals.drawn_interval(0.1, draws, confidence=0.9) == Interval(
        0.1, pytest.approx(-0.35), pytest.approx(0.95)
    )
    assert not intervals.drawn_interval(0.1, np.array([math.nan])).is_known
    assert not intervals.drawn_interval(math.nan, draws).is_known


def test_half_of_an_interval_and_one_that_lacks_an_end() -> None:
    assert Interval(0.5, 0.3, 0.9).half_width == pytest.approx(0.3)
    assert [Interval(*each).is_known for each in ((0.5, 0.3, 0.9), (math.nan, 0.3, 0.9), (0.5, 0.3))] == [
        True, False, False,
    ]  # fmt: skip
    assert not Interval(0.5, math.nan, 0.9).is_known
    assert not intervals.paired_share_interval(0, 0, 0).is_known


def test_two_examples_have_a_mean_and_one_has_not() -> None:
    # t with one degree of freedom is Cauchy's: cdf(-2) = 1/2 - atan(2) / pi; the error of -3 and -1 is 1.
    assert intervals.mean_p_value(np.array([-3.0, -1.0])) == pytest.approx(0.5 - math.atan(2) / math.pi)
    found = intervals.mean_interval(np.array([-3.0, -1.0]), value=-2.0, confidence=0.5)
    assert (found.low, found.high) == pytest.approx((-3.0, -1.0))  # a quarter of Cauchy's lies beyond 1
    assert intervals.mean_p_value(np.array([])) == 1.0
    assert intervals.mean_p_value(np.array([math.nan, 1.0])) == 1.0


def test_a_change_that_the_interval_would_not_hold_widens_it() -> None:
    # 99 of 100 gained: (100 - 1) / 102 and a little; the value 0.99 lies above that.
    found = intervals.paired_share_interval(99, 0, 100, confidence=0.05)
    middle, half = 99 / 102, 0.0627068 * math.sqrt((101 / 102 - (99 / 102) ** 2) / 102)
    assert (found.value, found.low, found.high) == pytest.approx((0.99, middle - half, 0.99))
    found = intervals.paired_share_interval(0, 99, 100, confidence=0.05)
    assert (found.value, found.low, found.high) == pytest.approx((-0.99, -0.99, half - middle))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.2 times 4, 3, 2, 1; none under the one before.
    assert intervals.holm([0.02, 0.2, 0.01, 0.03]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    # 0.7 of the chance for the first: 0.03 / 0.7; the rest then have all of it.
    assert intervals.holm([0.03, 0.04], [0.7, 0.3]) == pytest.approx([0.03 / 0.7, 0.03 / 0.7])
    # 0.04 / 0.3 comes before 0.3 / 0.7: the first has 0.3 of the chance, the last what is left, 0.7.
    assert intervals.holm([0.3, 0.04], [0.7, 0.3]) == pytest.approx([0.3, 0.04 / 0.3])
    assert intervals.holm([0.9, 0.8]) == [1.0, 1.0]
    assert intervals.holm([]) == []


def test_holm_holds_its_chance_whatever_the_number_of_tests() -> None:
    generator = np.random.default_rng(3)
    for count in (1, 5, 40):
        weights = [0.7, *[0.3 / count] * count]
        wrong = sum(
            min(intervals.holm(list(generator.random(count + 1)), weights)) <= 0.05 for _ in range(2000)
        )
        assert stats.binom.sf(wrong - 1, 2000, 0.05) > 1e-3
        assert wrong > 60  # a procedure that never refuses would hold it too
