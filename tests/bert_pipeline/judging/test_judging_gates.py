"""Verdicts by hand: what refuses, what is noise, what could have been seen."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from bert_task import DataConfig

from bert_pipeline.judging import comparisons, gates, intervals, power
from bert_pipeline.judging.answers import Answers
from bert_pipeline.judging.gates import Terms, Verdict
from bert_pipeline.settings.sections import EvaluationConfig, GateConfig, TaskConfig
from tests.error_rates import DIFFERENT, draw

LABELS = ("neg", "pos")


def answers(
    *groups: tuple[int, str, bool, bool], label: int = 0, columns: tuple[str, ...] = ("part",)
) -> Answers:
    """Examples by count, part, and whether the candidate and the baseline are right."""
    rows = [(part, new, old) for count, part, new, old in groups for _ in range(count)]
    right = np.eye(2)[label] * 0.8 + 0.1

    def probabilities(hits: list[bool]) -> np.ndarray:
        return np.array([right if hit else right[::-1] for hit in hits])

    return Answers(
        LABELS,
        np.full(len(rows), label),
        probabilities([new for _, new, _ in rows]),
        probabilities([old for _, _, old in rows]),
        {name: np.array([part for part, _, _ in rows], dtype=object) for name in columns},
    )


def judged(found: Answers, *named: GateConfig, slices: tuple[str, ...] = ("part",)) -> Verdict:
    return gates.judge(found, terms=Terms(LABELS, {}, named, slices=slices))


# 12 lost and 3 gained of 200: a drop of 0.045, by chance in 1 of 57 (P(Bin(15, 1/2) <= 3) = 0.0176).
DROPPED = answers(
    (150, "a", True, True), (35, "b", False, False), (12, "a", False, True), (3, "b", True, False)
)


def test_a_sure_drop_is_refused_with_its_chance() -> None:
    assert judged(DROPPED, GateConfig("accuracy", max_drop=0.02)).refusals == (
        "accuracy on all data is 0.77, 0.05 below the baseline's 0.81 (allowed 0.02; p 0.02)",
    )


def test_a_drop_within_the_bound_or_within_noise_is_not() -> None:
    assert judged(DROPPED, GateConfig("accuracy", max_drop=0.05)).refusals == ()
    found = answers(
        (150, "a", True, True), (40, "b", False, False), (7, "a", False, True), (3, "b", True, False)
    )
    verdict = judged(found, GateConfig("accuracy", max_drop=0.01))
    assert verdict.refusals == ()
    assert verdict.notes == (
        "within noise, not refused: accuracy on all data is 0.77, 0.02 below the baseline's 0.79 (allowed 0.01; p 0.2)",
    )


def test_the_confidence_says_how_sure() -> None:
    gate = {"metric": "accuracy", "max_drop": 0.02}
    assert judged(DROPPED, GateConfig(**gate, confidence=0.98)).refusals
    assert not judged(DROPPED, GateConfig(**gate, confidence=0.99)).refusals


def test_all_data_keep_most_of_the_chance_beside_many_slices() -> None:
    parts = [(8, f"part{i}", True, True) for i in range(20)]
    found = answers(*parts, (27, "a", False, False), (12, "a", False, True), (1, "b", True, False))
    named = (GateConfig("accuracy", max_drop=0.02), GateConfig("accuracy", slice="part", max_drop=0.02))
    refusals = judged(found, *named).refusals
    assert refusals[0].startswith("accuracy on all data")
    # P(Bin(13, 1/2) <= 1) = 0.0017 / 0.7 beside one slice of 22 with 0.3 / 22 each.
    assert refusals[0].endswith("(allowed 0.02; p 0.002)")


def test_a_rise_of_the_loss_is_refused_and_a_fall_is_not() -> None:
    worse = answers((60, "a", True, True), (40, "a", False, True))
    assert "loss on all data is" in judged(worse, GateConfig("loss", max_rise=0.1)).refusals[0]
    better = answers((60, "a", True, True), (40, "a", True, False))
    assert judged(better, GateConfig("loss", max_rise=0.1)).refusals == ()
    rise = 0.4 * math.log(9)  # of 40 in 100, from -ln 0.9 to -ln 0.1
    assert judged(worse, GateConfig("loss", max_rise=rise + 0.001)).refusals == ()
    assert judged(worse, GateConfig("loss", max_rise=rise - 0.001)).refusals


def test_a_gain_must_be_measured_or_with_confidence_sure() -> None:
    better = answers(
        (150, "a", True, True), (30, "a", False, False), (14, "a", True, False), (6, "a", False, True)
    )
    assert judged(better, GateConfig("accuracy", min_gain=0.04)).refusals == ()
    assert judged(better, GateConfig("accuracy", min_gain=0.05)).refusals == (
        "accuracy on all data is 0.82, 0.04 above the baseline's 0.78 (wanted: 0.05 above)",
    )
    (refusal,) = judged(better, GateConfig("accuracy", min_gain=0.03, confidence=0.95)).refusals
    assert refusal.endswith("(wanted: surely 0.03 above, 95 %)")
    assert judged(better, GateConfig("accuracy", min_gain=0.0, confidence=0.9)).refusals == ()


def test_a_bound_with_confidence_wants_the_end_of_the_one_sided_interval() -> None:
    found = answers((80, "a", True, True), (20, "a", False, False))
    # Wilson, one-sided at 95 %: 0.7267; two-sided it would be 0.7112.
    assert judged(found, GateConfig("accuracy", min=0.72, confidence=0.95)).refusals == ()
    assert judged(found, GateConfig("accuracy", min=0.73, confidence=0.95)).refusals == (
        "accuracy on all data is 0.80 [0.73 to 0.86], and must surely be at least 0.73 (95 %)",
    )
    assert judged(found, GateConfig("accuracy", min=0.81)).refusals == (
        "accuracy on all data is 0.80, below the bound 0.81 (by 0.01)",
    )
    assert judged(found, GateConfig("accuracy", min=0.8)).refusals == ()


def test_a_slice_that_is_missing_refuses_and_a_small_one_is_said() -> None:
    found = answers((30, "a", True, True), (3, "b", False, False))
    assert judged(found, GateConfig("accuracy", slice="part=c", min=0.1)).refusals == (
        "no evaluated example has part=c, and a gate bounds that slice",
    )
    assert judged(
        found, GateConfig("accuracy", slice="other", min=0.1), slices=("part", "other")
    ).refusals == ("no evaluated example has other, and a gate bounds each value of it",)
    small = GateConfig("accuracy", slice="part", min=0.5, min_examples=10)
    assert judged(found, small).notes == (
        "accuracy not judged where there are under 10 examples: part=b (3)",
    )
    assert judged(found, GateConfig("accuracy", slice="part", min=0.5)).refusals == (
        "accuracy on part=b is 0.00, below the bound 0.50 (by 0.50)",
    )
    assert judged(found.take(np.array([], dtype=int))).refusals == ("there is no example to evaluate",)


def test_a_slice_value_may_hold_any_character() -> None:
    found = answers((30, "a=b, c+d/é's", True, True), (30, "x", False, False))
    assert judged(found, GateConfig("accuracy", slice="part=a=b, c+d/é's", min=0.9)).refusals == ()
    assert judged(found, GateConfig("accuracy", slice="part=x", min=0.9)).refusals


def test_a_slice_behind_the_rest_is_refused_and_noise_is_not() -> None:
    found = answers(
        (30, "a", True, True),
        (30, "b", False, True),
        (50, "c", True, True),
        (2, "d", False, True),
        (1, "d", True, True),
    )
    verdict = judged(found, GateConfig("accuracy", slice="part", max_gap=0.2))
    assert [line.split(" is ")[0] for line in verdict.refusals] == ["accuracy on part=b (30 examples)"]
    assert verdict.behind[0] == verdict.refusals[0]
    assert len(verdict.behind) == 2  # b and d; a and c are ahead
    equal = answers((20, "a", True, True), (20, "b", True, True))
    assert judged(equal, GateConfig("accuracy", slice="part", max_gap=0.2)).behind == ()
    assert any(note.startswith("within noise, not refused: accuracy on part=d (3") for note in verdict.notes)


def test_what_neither_model_has_is_said_and_what_the_candidate_lost_refuses() -> None:
    found = answers((40, "a", True, True))
    verdict = judged(found, GateConfig("recall/pos", max_drop=0.1))  # nobody has that label
    assert verdict.refusals == ()
    assert verdict.notes == ("recall/pos on all data is not defined, and was not compared",)
    broken = found.candidate.copy()
    broken[3] = math.nan
    broken = Answers(LABELS, found.label_ids, broken, found.baseline, found.columns)
    refusal = "the model's probabilities are not finite numbers on 1 of 40 evaluated examples"
    for gate in (
        GateConfig("accuracy", max_drop=0.1),
        GateConfig("accuracy", min=0.1),
        GateConfig("accuracy", slice="part", max_gap=0.1),
    ):
        assert judged(broken, gate).refusals == (refusal,)


def test_a_precision_that_the_candidate_alone_lost_is_judged_by_size() -> None:
    """A candidate that never answers pos beside a baseline that does: 60 times is no noise, once is."""

    def never(count: int) -> Answers:
        ids = np.repeat([0, 1], [100, count])
        old = np.eye(2)[ids] * 0.8 + 0.1
        return Answers(LABELS, ids, np.tile([0.9, 0.1], (len(ids), 1)), old)

    gate = GateConfig("precision/pos", max_drop=0.1)
    assert judged(never(60), gate, slices=()).refusals == (
        "precision/pos on all data is not defined (the model never answers pos), and must lie at most 0.10 below the "
        "baseline's",
    )
    assert judged(never(1), gate, slices=()).refusals == ()


def test_a_held_gate_says_what_it_could_have_seen() -> None:
    found = answers(
        (150, "a", True, True), (43, "b", False, False), (4, "a", False, True), (3, "b", True, False)
    )
    verdict = judged(
        found,
        GateConfig("accuracy", min=0.5, max_drop=0.02),
        GateConfig("accuracy", slice="part", max_drop=0.02),
    )
    assert verdict.held[0] == "accuracy on all data 0.77 [0.70 to 0.82], at least 0.50"
    assert verdict.held[1].startswith("accuracy on all data 0.765 against 0.770; a drop of 0.0")
    assert verdict.held[1].endswith(" or more would have been seen (80 %)")
    assert verdict.held[2].startswith("accuracy on each part, 2 slices; a drop of 0.")


def test_a_gate_that_can_see_nothing_says_so() -> None:
    found = answers((150, "a", True, True), (7, "b", True, True))
    gate = GateConfig("accuracy", slice="part", max_drop=0.02)
    (held,) = judged(found, gate).held
    # 7 losses of 7 by chance: 1 of 128, and each of the two slices has 0.025: 6 of them would do; at 0.0025 none.
    assert "too few" not in held
    (held,) = judged(found, GateConfig("accuracy", slice="part", max_drop=0.02, confidence=0.99)).held
    assert held.endswith("too few examples to see any drop: part=b (7)")


@pytest.mark.parametrize("num_examples", [50, 190, 500, 2000])
def test_the_drop_that_is_said_to_be_seen_is_seen_four_times_in_five(num_examples: int) -> None:
    different = round(DIFFERENT * num_examples)
    drop = power.smallest_share_drop(num_examples, different, level=0.05, allowed=0.02)
    generator = np.random.default_rng(num_examples)
    terms = Terms(("negative", "neutral", "rare"), {}, (GateConfig("accuracy", max_drop=0.02),))
    seen = sum(
        bool(
            gates.judge(
                draw(generator, num_examples=num_examples, num_slices=1, drop=drop), terms=terms
            ).refusals
        )
        for _ in range(300)
    )
    assert 0.72 < seen / 300 < 0.9


def test_terms_travel_as_json() -> None:
    terms = Terms(
        LABELS, {"neg": {"pos": 2.0}}, (GateConfig("loss", max=1.0),), slices=("part",), label_column="l"
    )
    assert gates.terms_from_json(gates.terms_to_json(terms)) == terms


def test_the_order_of_the_costs_does_not_change_the_terms() -> None:
    costs = {"neg": {"pos": 2.0}, "pos": {"neg": 1.0}}
    first, second = (Terms(LABELS, each, ()) for each in (costs, dict(reversed(costs.items()))))
    assert gates.terms_to_json(first) == gates.terms_to_json(second)


def test_a_verdict_is_read_from_its_evaluation(tmp_path: Path) -> None:
    assert gates.read_verdict(str(tmp_path)) == Verdict()
    verdict = Verdict(("a", "b"), ("c",), (), ("d",))
    (tmp_path / "verdict.json").write_text(json.dumps(dataclasses.asdict(verdict)), encoding="utf-8")
    assert gates.read_verdict(str(tmp_path)) == verdict


def test_a_model_without_a_baseline_is_not_compared() -> None:
    alone = dataclasses.replace(DROPPED, baseline=None)
    gate = GateConfig("accuracy", min=0.5, max_drop=0.0, max_rise=0.0, min_gain=0.5)
    assert judged(alone, gate) == Verdict(
        (), (), (), ("accuracy on all data 0.77 [0.70 to 0.82], at least 0.50",)
    )


def test_a_gate_on_two_columns_names_both_where_no_example_has_them() -> None:
    assert judged(DROPPED, GateConfig("accuracy", slice="part+kind", min=0.5)).refusals == (
        "no evaluated example has kind and part, and a gate bounds each value of it",
    )


def test_a_change_that_is_the_allowed_one_is_allowed_and_a_chance_that_is_alpha_refuses() -> None:
    lost = answers((950, "a", True, True), (50, "a", False, True))  # 0.95 - 1.0 is -0.050000000000000044
    assert judged(lost, GateConfig("accuracy", max_drop=0.05)).refusals == ()
    assert judged(lost, GateConfig("accuracy", max_drop=0.0499)).refusals
    lost = answers((35, "a", True, True), (5, "a", False, True))  # by chance in 1 of 32
    assert judged(lost, GateConfig("accuracy", max_drop=0.1, confidence=31 / 32)).refusals
    assert not judged(lost, GateConfig("accuracy", max_drop=0.1, confidence=0.9688)).refusals


def test_the_terms_of_a_task_are_its_settings() -> None:
    gate = GateConfig("loss", max=1.0)
    data = DataConfig(path=".", text=("text",), label="l", labels=LABELS, files={})
    evaluation = EvaluationConfig(gates=(gate,), slices=("part",), costs={"neg": {"pos": 2.0}})
    task = TaskConfig(name="t", description="", data=data, evaluation=evaluation)
    expected = Terms(LABELS, {"neg": {"pos": 2.0}}, (gate,), slices=("part",), label_column="l")
    assert gates.terms_of(task) == expected
    silent = dataclasses.replace(task, evaluation=dataclasses.replace(evaluation, intervals="none"))
    assert gates.terms_of(silent) == dataclasses.replace(expected, intervals=False)


def test_weights_are_shared_by_hand() -> None:
    found = answers((30, "a", True, True), (30, "b", True, True))
    judge = gates.Judge(found, terms=Terms(LABELS, {}, (), slices=("part",)))
    named = (GateConfig("accuracy", max_drop=0.1), GateConfig("accuracy", slice="part", max_drop=0.1))
    compared = [each for gate in named for row in judge.rows(gate) for each in judge.changes(gate, row)]
    assert comparisons.weights_of(compared) == pytest.approx([0.7, 0.15, 0.15])


def test_a_bound_on_a_column_that_held_is_one_line() -> None:
    found = answers((30, "a", True, True), (20, "b", True, True), (10, "b", False, True))
    assert judged(found, GateConfig("accuracy", slice="part", min=0.6)).held == (
        "accuracy on each part, 2 slices, the nearest part=b: 0.67 [0.49 to 0.81], at least 0.60",
    )
    assert judged(found, GateConfig("accuracy", slice="part", min=0.7)).held == ()


def test_a_bound_from_above_wants_the_upper_end() -> None:
    found = answers((80, "a", True, True), (20, "a", False, False))
    assert judged(found, GateConfig("accuracy", max=0.8)).refusals == ()
    assert judged(found, GateConfig("accuracy", max=0.79)).refusals == (
        "accuracy on all data is 0.80, above the bound 0.79 (by 0.01)",
    )
    # Wilson, one-sided at 95 %: up to 0.8569; two-sided it would be 0.8666.
    assert judged(found, GateConfig("accuracy", max=0.86, confidence=0.95)).held == (
        "accuracy on all data 0.80 [0.71 to 0.87], at most 0.86",
    )
    assert judged(found, GateConfig("accuracy", max=0.85, confidence=0.95)).refusals
    parts = answers((30, "a", True, True), (20, "b", True, True), (10, "b", False, True))
    assert judged(parts, GateConfig("accuracy", slice="part", max=1.0)).held == (
        "accuracy on each part, 2 slices, the nearest part=a: 1.00 [0.89 to 1.00], at most 1.00",
    )


def test_the_number_of_examples_is_bounded_as_it_is() -> None:
    found = answers((30, "a", True, True), (20, "b", True, True))
    assert judged(found, GateConfig("example_count", slice="part", min=20, max=30)).refusals == ()
    assert judged(found, GateConfig("example_count", slice="part", min=21)).refusals == (
        "example_count on part=b is 20, below the bound 21 (by 1)",
    )
    assert judged(found, GateConfig("accuracy", slice="part", min=0.5, min_examples=20)).notes == ()
    missing = GateConfig("accuracy", slice="part=c", min=0.5), GateConfig("macro_f1", slice="part=c", min=0.5)
    assert len(judged(found, *missing).refusals) == 1


def test_a_gain_of_the_loss_is_a_fall() -> None:
    better = answers((80, "a", True, True), (10, "a", True, False), (10, "a", False, False))
    # 10 of 100 fall from ln 10 to -ln 0.9: 0.2197, and one-sided at 95 % 1.66 * 0.0662 less: 0.1097.
    assert judged(better, GateConfig("loss", min_gain=0.21)).held == (
        "loss on all data 0.33 against 0.54, better by 0.21 at least",
    )
    assert judged(better, GateConfig("loss", min_gain=0.22)).refusals
    assert judged(better, GateConfig("loss", min_gain=0.1, confidence=0.95)).refusals == ()
    assert judged(better, GateConfig("loss", min_gain=0.12, confidence=0.95)).refusals
    worse = answers((80, "a", True, True), (10, "a", False, True), (10, "a", False, False))
    assert judged(worse, GateConfig("loss", min_gain=0.0)).refusals
    assert judged(answers((10, "a", True, True)), GateConfig("loss", min_gain=0.0)).held == (
        "loss on all data 0.11 against 0.11, better by 0.00 at least",
    )


def test_the_three_worst_slices_are_shown_the_worst_first() -> None:
    parts = [(20 - 2 * i, f"p{i}", True, True) for i in range(5)]
    found = answers(*parts, *((2 * i, f"p{i}", False, True) for i in range(5)), (200, "good", True, True))
    verdict = judged(found, GateConfig("accuracy", slice="part", max_gap=0.9))
    assert [line.split(" is ")[0] for line in verdict.behind] == [
        f"accuracy on part=p{i} (20 examples)" for i in (4, 3, 2)
    ]
    assert verdict.refusals == ()
    alone = judged(answers((20, "a", True, True)), GateConfig("accuracy", slice="part", max_gap=0.1))
    assert (alone.behind, alone.refusals, alone.notes, alone.held) == ((), (), (), ())
    assert judged(found, GateConfig("recall/pos", slice="part", max_gap=0.1)).notes == (
        "recall/pos is not defined on, and was not compared: part=good, part=p0, part=p1, part=p2, part=p3, part=p4",
    )


def test_each_metric_of_each_slice_has_its_interval_where_the_task_wants_them() -> None:
    found = answers((30, "a", True, True), (10, "b", False, True))
    known = gates.Judge(found, terms=Terms(LABELS, {}, (), slices=("part",))).intervals()
    assert list(known) == ["", "part=a", "part=b"]
    names = ["accuracy", "macro_f1", "auc", "calibration_error", "loss"]
    names += [f"{kind}/{label}" for kind in ("precision", "recall") for label in LABELS]
    assert [list(known[""][kind]) for kind in ("metrics", "changes")] == [names, names]
    assert known[""]["changes"]["accuracy"] == intervals.paired_share_interval(0, 10, 40)
    assert known["part=a"]["metrics"]["accuracy"] == intervals.share_interval(30, 30)
    assert gates.Judge(found, terms=Terms(LABELS, {}, (), intervals=False)).intervals() == {}
    alone = Answers(LABELS, found.label_ids, found.candidate, None, found.columns)
    assert gates.Judge(alone, terms=Terms(LABELS, {}, ())).intervals()[""]["changes"] == {}
    costly = gates.Judge(found, terms=Terms(LABELS, {"neg": {"pos": 2.0}}, ())).intervals()
    assert costly[""]["metrics"]["expected_cost"].value == 0.5
