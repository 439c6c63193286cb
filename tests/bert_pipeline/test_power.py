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
