"""What one comparison sees and says, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bert_pipeline.judging import comparisons, power
from bert_pipeline.judging.answers import Slice
from bert_pipeline.judging.comparisons import Comparison
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.judging.measures import Change, Gap
from bert_pipeline.settings.sections import GateConfig


def compared(
    metric: str, kind: str, allowed: float, found: Change | Gap, *, name: str = "", count: int = 20
) -> Comparison:
    gate = GateConfig(metric, slice="part" if name else "", **{kind: allowed})
    values = (found.here, found.rest) if isinstance(found, Gap) else (0.765, 0.77)
    return Comparison(gate, kind, Slice(name, (), np.arange(count)), 0.2, 0.002, values, found, 400)


GAP = Gap(0.7, 0.9, Interval(0.5, 0.171, 0.829), 0.002)
CHANGED = Change(-0.005, 0.3, 0.7, 0.01, num_examples=190, num_different=28)
FEW = Change(-0.005, 0.3, 0.7, 0.01, num_examples=4, num_different=0)
SAME = Change(0.0, 1.0, 1.0, 0.0, num_examples=190, num_different=28)


@pytest.mark.parametrize(
    ("metric", "kind", "allowed", "found", "smallest"),
    [
        # By test_power.py: 20 examples of which 0.9 are right elsewhere, and 28 of 190 that differ.
        *((metric, "max_gap", 0.1, GAP, 0.21) for metric in ("accuracy", "recall/a", "precision/a", "macro_f1")),
        # 2.4865 standard errors, of which 1.645 lie between the value and its lower end: 0.2.
        ("loss", "max_gap", 0.1, GAP, 2.4865 * 0.2),
        *((metric, "max_drop", 0.02, CHANGED, 0.075) for metric in ("accuracy", "recall/a")),
        # Beyond what is allowed, or beyond noise.
        *((metric, "max_drop", 0.02, CHANGED, 0.02 + 0.8416 * 0.01) for metric in ("precision/a", "auc")),
        *((metric, "max_drop", 0.0, CHANGED, 2.4865 * 0.01) for metric in ("macro_f1", "loss", "calibration_error")),
        # No draw is rare enough, which the spread of a mean does not know.
        *((metric, "max_drop", 0.02, FEW, math.inf) for metric in ("accuracy", "macro_f1", "expected_cost")),
        ("auc", "max_drop", 0.02, FEW, 0.02 + 0.8416 * 0.01),
        ("macro_f1", "max_drop", 0.02, SAME, 0.075),
    ],
)  # fmt: skip
def test_what_a_comparison_sees_depends_on_its_metric(
    metric: str, kind: str, allowed: float, found: Change | Gap, smallest: float
) -> None:
    each = compared(metric, kind, allowed, found, name="part=b" if kind == "max_gap" else "")
    assert comparisons.smallest_seen(each, 0.05) == pytest.approx(smallest, abs=1e-4)


def test_a_comparison_of_a_slice_is_told_beside_the_rest() -> None:
    each = compared("accuracy", "max_gap", 0.1, GAP, name="part=b")
    assert each.sentence(0.002) == (
        "accuracy on part=b (20 examples) is 0.70, 0.20 behind the rest's 0.90 (allowed 0.10; p 0.002)"
    )
    assert list(comparisons.held_sentences([(each, 0.05)])) == [
        "accuracy on part=b 0.70 against the rest's 0.90; a gap of 0.21 or more would have been seen (80 %)"
    ]
    rise = compared("loss", "max_rise", 0.0, CHANGED)
    assert rise.sentence(0.04) == (
        "loss on all data is 0.765, 0.005 above the baseline's 0.770 (allowed 0.00; p 0.04)"
    )


def test_a_bound_that_held_on_several_slices_says_between_what_it_sees() -> None:
    better = Change(0.0, 1.0, 1.0, 0.01, num_examples=2000, num_different=300)
    group = [
        (compared("accuracy", "max_drop", 0.1, found, name=f"part={name}", count=count), 0.05)
        for name, count, found in (
            ("few", 4, FEW),
            ("some", 190, CHANGED),
            ("many", 2000, better),
            ("no", 3, FEW),
        )
    ]
    ends = [power.smallest_share_drop(n, k, level=0.05, allowed=0.1) for n, k in ((2000, 300), (190, 28))]
    assert ends == pytest.approx([0.11, 0.13])
    few = "too few examples to see any drop: part=few (4), part=no (3)"
    assert list(comparisons.held_sentences(group)) == [
        "accuracy on each part, 4 slices; a drop of 0.11 on part=many to 0.13 on part=some would have been seen "
        f"(80 %); {few}"
    ]
    assert list(comparisons.held_sentences(group[:2])) == [
        "accuracy on each part, 2 slices; a drop of 0.13 on part=some would have been seen (80 %); "
        "too few examples to see any drop: part=few (4)"
    ]
    assert list(comparisons.held_sentences([group[0], group[3]])) == [
        f"accuracy on each part, 2 slices; {few}"
    ]


def test_all_data_share_seven_tenths_of_the_chance_and_the_slices_the_rest() -> None:
    of_all, of_slice = (
        compared("accuracy", "max_drop", 0.1, CHANGED),
        compared("accuracy", "max_gap", 0.1, GAP, name="b"),
    )
    assert comparisons.weights_of([of_all, of_slice]) == pytest.approx([0.7, 0.3])
    assert comparisons.weights_of([of_all, of_all, of_slice]) == pytest.approx([0.35, 0.35, 0.3])
