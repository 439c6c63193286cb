"""What chance explains of a distance: exact where it can be, never too small a p-value, and not blind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bert_pipeline.data import drift_chance
from bert_pipeline.data.drift_chance import Cumulative
from tests import drift_samples


@pytest.mark.parametrize("count", [0, 2, 4, 5, 7, 9, 10])
def test_p_value_of_two_categories_is_that_of_the_hypergeometric_distribution(count):
    now, before = {"a": count, "b": 10 - count}, {"a": 460, "b": 540}
    pooled = 460 + count
    drawn = np.arange(11)
    chances = stats.hypergeom.pmf(drawn, 1010, pooled, 10)
    distances = abs(drawn / 10 - (pooled - drawn) / 1000)
    exact = chances[distances >= distances[count] - 1e-9].sum()
    error = 4 * (exact * (1 - exact) / drift_chance.NUM_DRAWS) ** 0.5 + 1 / drift_chance.NUM_DRAWS
    assert drift_chance.p_value_of_counts(now, before) == pytest.approx(exact, abs=error)


def test_p_values_are_the_same_each_time_and_one_where_nothing_moved():
    now, before = {"a": 40, "b": 60}, {"a": 300, "b": 700}
    first = drift_chance.p_value_of_counts(now, before)
    drift_chance._distances.cache_clear()
    assert drift_chance.p_value_of_counts(now, before) == first
    assert drift_chance.p_value_of_counts({"a": 3, "b": 7}, before) == 1.0
    assert drift_chance.p_value_of_counts({"a": 5}, {"a": 9}) == 1.0


def test_a_value_that_one_side_lacks_counts():
    assert drift_chance.p_value_of_counts({"new": 10}, {"a": 500, "b": 500}) < 0.001
    assert drift_chance.p_value_of_counts({"a": 10}, {"a": 998, "rare": 2}) == 1.0


SHAPES = {
    "normal": lambda generator, size: generator.normal(size=size),
    "long tail": lambda generator, size: generator.pareto(1.2, size=size),
    "ties": lambda generator, size: generator.integers(1, 6, size=size),
    "mostly 0": lambda generator, size: np.where(generator.random(size) < 0.8, 0, generator.random(size)),
    "one value": lambda _, size: np.full(size, 3.0),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("now", "before"), [(1, 40), (10, 1000), (300, 200)])
def test_the_least_distance_is_never_above_the_true_one(shape, now, before):
    generator = np.random.default_rng(1)
    for shift in (0.0, 0.3, 2.0):
        for _ in range(20):
            a, b = SHAPES[shape](generator, now) + shift, SHAPES[shape](generator, before)
            least = drift_chance.least_distance(drift_samples.cumulative(a), drift_samples.cumulative(b))
            true = stats.ks_2samp(a, b).statistic
            assert true - 0.3 <= least <= true + 1e-9  # of ten buckets a side not more than two are unknown


def test_the_least_distance_is_the_true_one_where_both_know_the_same_points():
    a = Cumulative(100, 1, (1, 2, 3), (0.2, 0.5, 1.0))
    b = Cumulative(100, 1, (1, 2, 3), (0.3, 0.9, 1.0))
    assert drift_chance.least_distance(a, b) == pytest.approx(0.4)
    apart = Cumulative(10, 7, (8, 9), (0.5, 1.0))
    assert drift_chance.least_distance(a, apart) == drift_chance.least_distance(apart, a) == 1.0


def test_bounds_are_those_of_what_is_known():
    known = Cumulative(10, 1.0, (2.0, 5.0), (0.4, 1.0))
    least, most = known.bounds(np.array([0.5, 1.0, 2.0, 3.0, 5.0, 6.0]))
    assert least.tolist() == [0.0, 0.0, 0.4, 0.4, 1.0, 1.0]
    assert most.tolist() == [0.0, 0.4, 0.4, 1.0, 1.0, 1.0]


def test_p_value_of_numbers_is_kolmogorovs():
    a = Cumulative(200, 0, (1, 2), (0.4, 1.0))
    b = Cumulative(300, 0, (1, 2), (0.5, 1.0))
    # n m / (n + m) = 120; 120 ** 0.5 * 0.1 = 1.095, Kolmogorov's limit gives 0.18
    assert drift_chance.p_value_of_numbers(a, b) == pytest.approx(0.17, abs=0.02)


def test_holm_names_columns_while_their_p_values_stay_below_the_rising_level():
    assert drift_chance.beyond_chance({"a": 0.012, "b": 0.016, "c": 0.024, "d": 0.06}) == {"a", "b", "c"}
    assert drift_chance.beyond_chance({"a": 0.012, "b": 0.017, "c": 0.026, "d": 0.06}) == {"a"}
    assert drift_chance.beyond_chance({"a": 0.013, "b": 0.013, "c": 0.013, "d": 0.013}) == set()
    assert drift_chance.beyond_chance({"a": 0.05}) == {"a"}
    assert drift_chance.beyond_chance({}) == set()


def test_the_least_p_value_passes_holms_level_of_many_columns():
    p_value = drift_chance.p_value_of_counts({"a": 1000}, {"b": 1000})
    assert drift_chance.beyond_chance({"moved": p_value, **{str(i): 1.0 for i in range(98)}}) == {"moved"}


def test_the_smallest_change_that_is_seen_is_the_first_of_a_small_p_value():
    level, pooled = 0.01, 130
    told, hidden = [], []
    for count in range(31):
        now, before = {"a": count, "b": 30 - count}, {"a": pooled - count, "b": 200 - pooled + count}
        distance = abs(count / 30 - (pooled - count) / 200)
        is_told = drift_chance.p_value_of_counts(now, before) <= level
        (told if is_told else hidden).append(distance)
        least = drift_chance.smallest_seen_of_counts(now, before, level=level)
        assert is_told == (distance >= least - 1e-9)
    assert max(hidden) < min(told)


def test_where_no_draw_lies_as_far_the_p_value_is_fishers_exact_bound():
    # Twice the smaller tail, times the number of values; the smaller one is a rise, one of a new value, and a fall.
    risen = drift_chance.p_value_of_counts({"a": 12, "b": 8}, {"a": 50, "b": 950})
    assert risen == pytest.approx(2 * 2 * stats.hypergeom.sf(11, 1020, 62, 20), abs=0)
    new = drift_chance.p_value_of_counts({"a": 15, "new": 5}, {"a": 1000})
    assert new == pytest.approx(2 * 2 * stats.hypergeom.sf(4, 1020, 5, 20), abs=0)
    before = {"a": 500, "b": 125, "c": 125, "d": 125, "e": 125}
    fallen = drift_chance.p_value_of_counts(dict.fromkeys("bcde", 10), before)
    assert fallen == pytest.approx(2 * 5 * stats.hypergeom.cdf(0, 1040, 500, 40), abs=0)


def test_a_rare_level_has_a_normal_quantile_and_others_a_draw():
    now, before = {"a": 30, "b": 60, "c": 10}, {"a": 300, "b": 600, "c": 100}
    seen = [
        drift_chance.smallest_seen_of_counts(now, before, level=level)
        for level in (0.001, 0.0048, 0.005, 0.0052)
    ]
    # The largest error is that of a share of 0.6; two sides of three values.
    error = (0.6 * 0.4 * (1 / 100 + 1 / 1000)) ** 0.5
    assert seen[:2] == pytest.approx([stats.norm.isf(0.001 / 6) * error, stats.norm.isf(0.0048 / 6) * error])
    distances = drift_chance._distances((330, 660, 110), 100, 1000)
    assert [bool((abs(distances - each) < 1e-12).any()) for each in seen] == [False, False, True, True]
    assert drift_chance.smallest_seen_of_counts({"a": 2}, {"b": 2}, level=0.001) == 1.0
    assert drift_chance.smallest_seen_of_counts({"a": 1}, {"b": 1}, level=0.01) == 1.0  # no draw lies further


def test_as_few_draws_lie_as_far_as_the_level_allows():
    now = dict(zip("abcdefgh", (311, 97, 203, 151, 89, 47, 59, 40), strict=True))
    before = dict(zip("abcdefgh", (301, 107, 193, 161, 79, 57, 49, 62), strict=True))
    seen = drift_chance.smallest_seen_of_counts(now, before, level=0.0075)
    distances = drift_chance._distances(tuple(now[k] + before[k] for k in now), 997, 1009)
    nearer = distances[distances < seen - 1e-9].max()
    as_far = [int((distances >= each - 1e-9).sum()) for each in (seen, nearer)]
    assert (1 + as_far[0]) / 2001 <= 0.0075 < (1 + as_far[1]) / 2001


def test_the_smallest_shift_that_is_seen_is_kolmogorovs_quantile():
    shift = drift_chance.smallest_seen(num_now=100, num_before=1000, level=0.01)
    assert stats.kstwo.sf(shift, 91) == pytest.approx(0.01)
    assert shift > drift_chance.smallest_seen(num_now=1000, num_before=1000, level=0.01)


@pytest.mark.parametrize(("now", "before"), [(10, 1_000), (100, 1_000), (30, 10_000)])
def test_quiet_comparisons_are_told_in_one_of_twenty_at_most(now, before):
    generator = np.random.default_rng((7, now, before))
    told = [drift_samples.quiet_is_told(generator, now, before) for _ in range(100)]
    assert np.mean(told) <= drift_samples.band(100)


def test_the_distance_that_is_seen_is_the_least_whose_p_value_is_the_level() -> None:
    now, before = {"a": 37, "b": 23}, {"a": 53, "b": 67}  # 37 / 60 - 53 / 120 is 0.175
    p_value = drift_chance.p_value_of_counts(now, before)
    assert 0.01 < p_value < 0.1
    seen = drift_chance.smallest_seen_of_counts(now, before, level=p_value + 1e-9)
    assert seen == pytest.approx(0.175)
    assert drift_chance.smallest_seen_of_counts(now, before, level=p_value - 1e-9) > 0.18


def test_two_samples_of_one_value_each_count_as_one() -> None:
    assert drift_chance.smallest_seen(num_now=1, num_before=1, level=0.05) == pytest.approx(0.975)
    assert drift_chance.p_value_of_counts({"a": 3}, {"a": 5}) == 1.0


def test_a_value_that_is_new_is_beyond_chance_by_fishers_test() -> None:
    found = drift_chance.p_value_of_counts({"a": 20, "b": 20, "c": 20}, {"b": 500, "c": 500})
    assert found == pytest.approx(2 * 3 * stats.hypergeom.sf(19, 1060, 20, 60), rel=1e-6, abs=0.0)
