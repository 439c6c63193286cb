"""What a comparison could have seen, by hand."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from bert_pipeline.judging import power


def test_without_a_differing_example_only_a_run_of_losses_is_seen() -> None:
    # 10 examples: 5 losses of 5 are 1 of 32; 80 % of the time there are 5 or more from a drop of about 0.6 on.
    found = power.smallest_share_drop(10, 0, level=0.05, allowed=0.0)
    assert stats.binom.sf(4, 10, found) == pytest.approx(0.8, abs=0.08)
    assert power.smallest_share_drop(4, 0, level=0.05, allowed=0.0) == math.inf
    assert power.smallest_share_drop(0, 0, level=0.05, allowed=0.0) == math.inf


def test_more_examples_see_more_and_more_differing_ones_less() -> None:
    sizes = [
        power.smallest_share_drop(n, round(0.15 * n), level=0.05, allowed=0.02) for n in (50, 190, 500, 2000)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes == pytest.approx([0.145, 0.075, 0.05, 0.03], abs=0.011)
    assert power.smallest_share_drop(190, 60, level=0.05, allowed=0.02) > sizes[1]
    assert power.smallest_share_drop(190, 28, level=0.001, allowed=0.02) > sizes[1]


def test_what_is_allowed_is_not_seen() -> None:
    assert power.smallest_share_drop(100_000, 15_000, level=0.05, allowed=0.1) == pytest.approx(
        0.105, abs=0.001
    )
    assert power.smallest_drop(0.001, level=0.05, allowed=0.1) == pytest.approx(
        0.1 + 0.8416 * 0.001, abs=1e-5
    )
    assert power.smallest_drop(0.1, level=0.05, allowed=0.0) == pytest.approx(
        (1.6449 + 0.8416) * 0.1, abs=1e-4
    )
    assert power.smallest_drop(math.nan, level=0.05, allowed=0.0) == math.inf


def test_two_sets_of_texts_by_the_usual_formula() -> None:
    found = power.smallest_difference(0.8, 500, 500, level=0.05)
    # 1.645 and 0.842 standard errors of about sqrt(2 * 0.17 / 500) each.
    assert found == pytest.approx(2.487 * math.sqrt(2 * 0.178 / 500), abs=0.006)
    assert power.smallest_difference(0.8, 500, 500, level=0.05, allowed=0.2) > 0.2
    assert power.smallest_difference(0.8, 3, 500, level=0.001) == math.inf
    assert power.smallest_difference(0.8, 0, 500, level=0.05) == math.inf
    assert power.smallest_difference(0.05, 500, 500, level=0.05) <= 0.05


@pytest.mark.parametrize(
    ("num_examples", "num_different", "level", "allowed", "drop"),
    [
        (50, 8, 0.05, 0.02, 0.145),
        (190, 28, 0.05, 0.02, 0.075),
        (500, 75, 0.01, 0.0, 0.06),
        (2000, 300, 0.05, 0.1, 0.11),
        (1000, 0, 0.05, 0.03, 0.035),
        (20, 20, 0.05, 0.0, 0.6),  # all differ already
        (40, 3, 0.2, 0.25, 0.32),  # the bound asks for more than the level
        (30, 3, 0.05, 0.5, 0.585),
    ],
)
def test_a_drop_of_a_share_by_counting_losses(
    num_examples: int, num_different: int, level: float, allowed: float, drop: float
) -> None:
    # Number by number: the least losses of each number of differing examples that are under the level and over the
    # bound, and their chance under each drop, until it is 0.8.
    found = power.smallest_share_drop(num_examples, num_different, level=level, allowed=allowed)
    assert found == pytest.approx(drop, abs=1e-9)


@pytest.mark.parametrize(
    ("share", "num_examples", "num_others", "level", "allowed", "difference"),
    [
        (0.8, 500, 500, 0.05, 0.0, 0.07),
        (0.8, 30, 170, 0.01, 0.0, 0.28),
        (0.9, 20, 400, 0.05, 0.1, 0.21),
        (0.6, 100, 50, 0.001, 0.05, 0.33),
        (0.3, 40, 40, 0.05, 0.0, 0.22),
        (1.0, 10, 90, 0.01, 0.0, 0.23),
        (0.8, 5, 3, 0.05, 0.0, math.inf),  # none right of 5 beside 2 of 3: 3 of 28, and half of that is 0.054
        (0.8, 5, 3, 0.06, 0.0, 0.75),
    ],
)
def test_a_difference_of_two_shares_by_its_formula(
    share: float, num_examples: int, num_others: int, level: float, allowed: float, difference: float
) -> None:
    # By hand: the first step d of 0.005 with d - max(z * error if both were alike, allowed) >= 0.8416 * error.
    found = power.smallest_difference(share, num_examples, num_others, level=level, allowed=allowed)
    assert found == pytest.approx(difference, abs=1e-9)


def test_a_share_may_fall_to_nothing_and_not_further() -> None:
    # Of 10 examples, none right where a quarter is right elsewhere: as much as can be seen there at all.
    assert power.smallest_difference(0.25, 10, 1000, level=0.05) == pytest.approx(0.25)
