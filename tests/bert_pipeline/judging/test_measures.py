"""Metrics, intervals and tests of a change from the answers to each example, beside scikit-learn and scipy."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from bert_pipeline.judging import counts, intervals, means, measures, scores
from bert_pipeline.judging.answers import Answers, slices_of
from bert_pipeline.judging.measures import Metrics
from tests.error_rates import COSTS, LABELS, draw

MATRIX = scores.cost_matrix(COSTS, LABELS)


def made(num_examples: int = 190, *, drop: float = 0.0, seed: int = 0) -> Metrics:
    generator = np.random.default_rng(seed)
    return Metrics(draw(generator, num_examples=num_examples, num_slices=1, drop=drop), MATRIX)


def test_values_are_scikit_learns() -> None:
    found = made()
    truth, answered = found.answers.label_ids, found.answers.candidate.argmax(axis=1)
    expected = {
        "accuracy": sklearn.accuracy_score(truth, answered),
        "macro_f1": sklearn.f1_score(truth, answered, average="macro"),
        "recall/neutral": sklearn.recall_score(truth, answered, labels=[1], average=None)[0],
        "precision/rare": sklearn.precision_score(truth, answered, labels=[2], average=None)[0],
        "loss": sklearn.log_loss(truth, found.answers.candidate),
        "expected_cost": MATRIX[truth, answered].mean(),
    }
    assert {name: found.value(name) for name in expected} == pytest.approx(expected)
    auc = sklearn.roc_auc_score(truth, found.answers.candidate, multi_class="ovr")
    assert found.value("auc") == pytest.approx(auc, abs=2e-3)  # in bins of log-odds


def test_the_tally_that_tfma_runs_has_the_same_values() -> None:
    found, tally = made(), scores.Tally.empty(len(LABELS))
    for label_id, probabilities in zip(found.answers.label_ids, found.answers.candidate, strict=True):
        tally.add(int(label_id), probabilities)
    assert {name: found.value(name) for name in tally.scores()} == pytest.approx(tally.scores())


def test_a_swap_of_answers_is_scipys_permutation_test() -> None:
    answers = made(120, drop=0.06).answers
    new, old = answers.candidate.argmax(axis=1), answers.baseline.argmax(axis=1)

    def change(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
        rows = np.broadcast_arrays(answers.label_ids, first, second)
        return np.array(
            [
                sklearn.f1_score(truth, a, average="macro") - sklearn.f1_score(truth, b, average="macro")
                for truth, a, b in zip(*(r.reshape([-1, len(new)]) for r in rows), strict=True)
            ]
        ).reshape(rows[1].shape[:-1])

    known = stats.permutation_test(
        (new, old), change, permutation_type="samples", alternative="less", n_resamples=400, vectorized=True,
        random_state=np.random.default_rng(5),
    )  # fmt: skip
    found = Metrics(answers, MATRIX).change("macro_f1")
    assert found.value == pytest.approx(known.statistic)
    assert found.p_lower == pytest.approx(known.pvalue, abs=0.06)
    assert found.spread == pytest.approx(known.null_distribution.std(), rel=0.15)


def test_a_change_of_accuracy_is_mcnemars() -> None:
    found = made(drop=0.1)
    right = [
        each.argmax(axis=1) == found.answers.label_ids
        for each in (found.answers.candidate, found.answers.baseline)
    ]
    gained, lost = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    change = found.change("accuracy")
    assert change.p_lower == pytest.approx(stats.binomtest(gained, gained + lost, alternative="less").pvalue)
    assert (change.num_different, change.num_examples) == (gained + lost, 190)
    assert change.value == pytest.approx((gained - lost) / 190)


def test_delongs_error_is_that_of_swapped_answers() -> None:
    change, drawn = made(400).change("auc"), measures.auc_by_chance(made(400).answers)
    assert drawn.mean() == pytest.approx(0, abs=3 * change.spread / math.sqrt(2000))
    assert drawn.std() == pytest.approx(change.spread, rel=0.15)


def test_the_auc_and_its_error_are_delongs_by_hand() -> None:
    ids = np.array([0, 0, 0, 1, 1, 2])  # no example has the fourth label
    probabilities = np.array(
        [
            [0.6, 0.2, 0.1, 0.1], [0.3, 0.4, 0.2, 0.1], [0.5, 0.1, 0.3, 0.1],
            [0.4, 0.4, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1], [0.5, 0.1, 0.2, 0.2],
        ]
    )  # fmt: skip
    # Of the first label 1, 1/6 and 5/6 of the others lie below, a level one counting half; of the second 7/8 and 1, of
    # the third 0.7: areas of 2/3, 15/16 and 7/10.
    parts, value = means.contributions("auc", ids, probabilities)
    assert value == pytest.approx((2 / 3 + 15 / 16 + 7 / 10) / 3)
    assert parts == pytest.approx(np.array([41.095, 9.395, 22.695, 29.72, 38.22, 24.775]) / 36)
    assert parts.mean() == pytest.approx(value)
    # With a 0 and a 1 more: var(1, 1/6, 5/6, 0, 1) / 5 and so on, less what the variance of the parts already holds.
    more = (0.0461111 - 0.0432099) + (0.0582682 - 0.0019531) + 0.0877778
    error = means.auc_error(ids, probabilities, parts)
    assert error == pytest.approx(math.sqrt(0.0852418 / 6 + more / 9), rel=1e-5)


def test_one_right_and_one_wrong_are_as_unsure_as_can_be() -> None:
    ids, probabilities = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5]])
    parts, value = means.contributions("auc", ids, probabilities)
    assert value == 0.5
    assert parts.tolist() == [1.5, -0.5, 0.5, 0.5]  # 1 and 0 of two, and the level ones 1/2
    # var(0, 1, 0, 1) / 4 is less than var(0, 1) / 2 and takes nothing away; var(1/2, 1/2, 0, 1) / 4 is 1/24.
    assert means.auc_error(ids, probabilities, parts) == pytest.approx(math.sqrt(0.5 / 4 + 1 / 24 / 4))


def test_a_change_of_a_recall_is_of_the_examples_with_the_label() -> None:
    ids = np.array([0] * 10 + [1] * 40)
    new, old = ids.copy(), ids.copy()
    new[:3], old[3:4], new[10:12] = 1, 1, 0  # 3 lost and 1 gained of a, 2 lost of b
    found = Metrics(Answers(("a", "b"), ids, np.eye(2)[new], np.eye(2)[old]), 1 - np.eye(2))
    change = found.change("recall/a")
    assert (change.value, change.spread) == pytest.approx((-0.2, math.sqrt(4) / 10))
    assert (change.num_examples, change.num_different) == (10, 4)
    assert (change.p_lower, change.p_higher) == (intervals.sign_p_value(1, 3), intervals.sign_p_value(3, 1))
    assert found.change("accuracy").spread == pytest.approx(math.sqrt(6) / 50)
    assert found.change_interval("recall/a") == intervals.paired_share_interval(1, 3, 10)


def test_two_examples_are_enough_for_a_gap_of_the_loss() -> None:
    here, rest = made(2, seed=1), made(50)
    parts = [means.contributions("loss", *_of(side))[0] for side in (here, rest)]
    test = stats.ttest_ind(*parts, equal_var=False, alternative="greater")
    assert measures.gap("loss", here, rest).p_behind == pytest.approx(test.pvalue)


def test_two_examples_of_three_labels_have_an_unsure_auc_of_1() -> None:
    ids, probabilities = np.array([0, 2]), np.array([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3]])
    parts, value = means.contributions("auc", ids, probabilities)
    assert (value, parts.tolist()) == (1.0, [1.0, 1.0])
    # Of two labels, var(1, 0, 1) / 3 = 1/9 each.
    assert means.auc_error(ids, probabilities, parts) == pytest.approx(math.sqrt(2 / 9) / 2)
    last = np.array([[0.5, 0.2, 0.3], [0.3, 0.6, 0.1]])  # of the first label above, of the last below
    assert means.contributions("auc", ids, last)[1] == 0.5
    without_first = means.contributions("auc", np.array([1, 2]), probabilities[:, [2, 0, 1]])
    assert without_first[1] == 0.5  # 1 and 0: 0.6 above 0.5, and 0.2 below 0.3


def test_the_auc_of_one_label_is_not_defined() -> None:
    ids, probabilities = np.array([1, 1]), np.array([[0.4, 0.6], [0.3, 0.7]])
    parts, value = means.contributions("auc", ids, probabilities)
    assert math.isnan(value) and np.isnan(parts).all()
    assert means.auc_error(ids, probabilities, np.array([0.5, 0.7])) == pytest.approx(0.1 / math.sqrt(2))
    assert not means.auc_by_chance(Answers(("a", "b"), ids, probabilities, probabilities[::-1])).any()


def test_the_calibration_error_sums_the_gaps_of_each_bin() -> None:
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.7, 0.3], [0.0, 1.0]])
    parts, value = means.contributions("calibration_error", np.array([0, 1, 1, 1]), probabilities)
    # 0.90 and 0.92 share a bin: one right of two, 0.1 - 0.92 = -0.82; then -0.7 in its own bin, and 0 for the sure one.
    assert value == pytest.approx((0.82 + 0.7) / 4)
    assert parts == pytest.approx([-0.1, 0.92, 0.7, 0.0])
    # 1 is in the bin of 0.95: one right of two, 1 - 1.95.
    _, value = means.contributions(
        "calibration_error", np.array([0, 1]), np.array([[0.95, 0.05], [1.0, 0.0]])
    )
    assert value == pytest.approx(0.95 / 2)
    # In bins of a fifteenth, 0.92 and 0.97 share none: 1 - 0.92 and 0 - 0.97.
    apart = np.array([[0.92, 0.08], [0.97, 0.03]])
    assert means.contributions("calibration_error", np.array([0, 1]), apart)[1] == pytest.approx(1.05 / 2)


def test_by_chance_each_example_changes_sides_by_a_coin() -> None:
    found, times = np.unique(means.mean_by_chance(np.array([0.3, -0.1])).round(9), return_counts=True)
    assert found.tolist() == [-0.2, -0.1, 0.1, 0.2]  # (+-0.3 +- 0.1) / 2
    assert (abs(times - 500) < 80).all()  # 4 standard deviations
    new = np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1], [0.2, 0.4, 0.3, 0.1]])
    old = np.array([[0.3, 0.5, 0.1, 0.1], [0.5, 0.3, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1]])
    changes = means.auc_by_chance(Answers(("a", "b", "c", "none"), np.array([0, 0, 1, 2]), new, old))
    none_first = Answers(
        ("none", "a", "b", "c"), np.array([1, 1, 2, 3]), new[:, [3, 0, 1, 2]], old[:, [3, 0, 1, 2]]
    )
    assert (means.auc_by_chance(none_first) == changes).all()
    found, times = np.unique((changes * 72).round(3), return_counts=True)
    # The 16 ways to swap four answers, by counting pairs: AUCs of 17/18 and 39/72 unswapped, 29/72 apart.
    assert found.tolist() == [-36, -29, -21, -14, -8, -7, -1, 1, 7, 8, 14, 21, 29, 36]
    swapped = np.random.default_rng(counts.SEED).integers(2, size=(2000, 4)).any(axis=1)
    assert (changes[~swapped] * 72).tolist() == pytest.approx([29] * int((~swapped).sum()))
    assert (abs(times - 125 * np.where(abs(found) == 14, 2, 1)) < 60).all()


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "precision/rare", "expected_cost", "loss", "auc"])
def test_intervals_hold_the_true_value_as_often_as_they_say(metric: str) -> None:
    generator = np.random.default_rng(1)
    truth = Metrics(draw(generator, num_examples=200_000, num_slices=1), MATRIX).value(metric)
    outside = 0
    for _ in range(300):
        known = Metrics(draw(generator, num_examples=150, num_slices=1), MATRIX).interval(metric)
        outside += not known.low <= truth <= known.high
    assert stats.binom.sf(outside - 1, 300, 0.05) > 1e-3
    assert outside  # an interval from 0 to 1 would hold it, too


def test_four_right_answers_of_four_are_no_proof_of_macro_f1() -> None:
    few, many = (Answers(("a", "b"), *_all_right(count)) for count in (4, 4000))
    costs = scores.cost_matrix({}, ("a", "b"))
    assert Metrics(few, costs).interval("macro_f1").low < 0.6
    assert Metrics(many, costs).interval("macro_f1").low > 0.99


def _all_right(count: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.arange(count) % 2
    return ids, np.eye(2)[ids] * 0.8 + 0.1


def test_what_is_not_defined_is_nan_and_one_precision_alone_counts_as_0() -> None:
    ids = np.array([0, 1, 0, 1])
    always, right = np.tile([0.9, 0.1], (4, 1)), np.eye(2)[ids] * 0.8 + 0.1
    costs = scores.cost_matrix({}, ("a", "b"))
    found = Metrics(Answers(("a", "b"), ids, always, right), costs)
    assert math.isnan(found.value("precision/b"))
    assert found.change("precision/b").value == -1.0
    assert math.isnan(Metrics(Answers(("a", "b"), ids, always, always), costs).change("precision/b").value)
    broken = always.copy()
    broken[2, 0] = math.nan
    found = Metrics(Answers(("a", "b"), ids, broken, right), costs)
    assert math.isnan(found.value("accuracy")) and math.isnan(found.change("accuracy").value)


def test_the_order_of_the_examples_decides_nothing() -> None:
    found = made()
    shuffled = np.random.default_rng(9).permutation(190)
    other = dataclasses.replace(found, answers=found.answers.take(shuffled))
    for metric in ("macro_f1", "expected_cost", "accuracy"):
        assert other.change(metric) == found.change(metric)
        assert other.interval(metric) == found.interval(metric)


def test_a_slice_is_put_beside_the_rest() -> None:
    table, other = np.array([[20.0, 10], [5, 25]]), np.array([[90.0, 10], [5, 95]])
    labels, costs = ("a", "b"), scores.cost_matrix({}, ("a", "b"))
    known, p_value = counts.compare_counts("accuracy", table, other, labels=labels, costs=costs)
    assert known.value == pytest.approx(185 / 200 - 45 / 60) and 0.05 < known.low < known.high < 0.35
    assert p_value < 0.001
    known, of_f1 = counts.compare_counts("macro_f1", table, other, labels=labels, costs=costs)
    assert known.value == pytest.approx(0.176, abs=1e-3) and of_f1 < 0.001
    known, better = counts.compare_counts("macro_f1", other, table, labels=labels, costs=costs)
    assert known.value == pytest.approx(-0.176, abs=1e-3) and better > 0.99
    _, cost = counts.compare_counts("expected_cost", table, other, labels=labels, costs=costs)
    assert cost < 0.001  # a larger cost is worse


def test_a_mean_has_students_interval_and_few_examples_a_swap_of_answers() -> None:
    # Losses of 0.5 and 0.2, and the baseline's of 0.2 and 0.3: +-0.3 +- 0.1, each way as likely.
    new, old = (np.exp([[-a, -3.0], [-b, -3.0]]) for a, b in ((0.5, 0.2), (0.2, 0.3)))
    change = Metrics(Answers(("a", "b"), np.array([0, 0]), new, old), np.ones((2, 2))).change("loss")
    assert change.value == pytest.approx(0.1)
    assert (change.p_lower, change.p_higher) == pytest.approx((3 / 4, 1 / 2), abs=0.05)
    as_high = np.count_nonzero(means.mean_by_chance(np.array([0.3, -0.1])) > 0.05)
    assert change.p_higher == pytest.approx((1 + as_high) / 2001)
    assert change.spread == pytest.approx(0.2 / math.sqrt(2))
    assert (change.num_examples, change.num_different) == (2, 2)
    found = made(500, drop=0.02)
    parts = [-np.log(each[np.arange(500), found.answers.label_ids]) for each in _both(found)]
    by_chance = means.mean_by_chance(parts[0] - parts[1])
    drawn = intervals.drawn_p_value((parts[0] - parts[1]).mean(), by_chance)
    assert found.change("loss").p_lower == pytest.approx(drawn)
    found = made(501, drop=0.02)
    parts = [-np.log(each[np.arange(501), found.answers.label_ids]) for each in _both(found)]
    test = stats.ttest_rel(*parts, alternative="less")
    change = found.change("loss")
    assert (change.value, change.p_lower) == pytest.approx((parts[0].mean() - parts[1].mean(), test.pvalue))
    assert change.p_higher == pytest.approx(1 - test.pvalue)
    known = found.change_interval("loss", confidence=0.9)
    low, high = stats.ttest_rel(*parts).confidence_interval(0.9)
    assert (known.value, known.low, known.high) == pytest.approx((change.value, low, high))


def _both(found: Metrics) -> tuple[np.ndarray, np.ndarray]:
    return found.answers.candidate, found.answers.baseline


def test_a_change_of_the_cost_by_hand() -> None:
    # Of label a: 5 and 0 instead of 0 and 1, and one as wrong as before: (+-5 +- 1) / 5.
    costs = scores.cost_matrix({"a": {"b": 5.0, "c": 5.0}, "b": {"c": 1.0}}, ("a", "b", "c"))
    ids, new, old = (np.array(each) for each in ([0, 1, 0, 2, 2], [1, 1, 1, 2, 2], [0, 2, 2, 2, 2]))
    found = Metrics(Answers(("a", "b", "c"), ids, np.eye(3)[new], np.eye(3)[old]), costs)
    change = found.change("expected_cost")
    assert change.value == pytest.approx(0.8)
    assert (change.p_lower, change.p_higher) == pytest.approx((3 / 4, 1 / 2), abs=0.05)
    assert change.spread == pytest.approx(math.sqrt(26) / 5, rel=0.05)
    assert (change.num_examples, change.num_different) == (5, 2)


def test_equal_answers_of_ten_examples_may_hide_a_change_of_the_cost() -> None:
    ids = np.arange(10) % 2
    found = Metrics(Answers(("a", "b"), ids, np.eye(2)[ids], np.eye(2)[ids]), 1 - np.eye(2))
    # One example more each way, of 12: its share is a Beta(1, 11), and 0.05 of that lies beyond 1 - 0.05 ** (1 / 11).
    known = found.change_interval("expected_cost")
    assert known.value == 0.0
    assert (known.low, known.high) == pytest.approx((-0.238, 0.238), rel=0.1)
    assert found.change_interval("accuracy", confidence=0.9) == intervals.paired_share_interval(
        0, 0, 10, confidence=0.9
    )


def test_what_is_not_defined_has_no_change() -> None:
    found = Metrics(Answers(("a", "b"), np.array([0, 0]), np.eye(2), np.eye(2)), np.ones((2, 2)))
    change = found.change("recall/b")
    assert math.isnan(change.value) and math.isnan(change.spread)
    assert (change.p_lower, change.p_higher, change.num_examples, change.num_different) == (1.0, 1.0, 2, 0)
    assert not found.change_interval("recall/b").is_known and not found.interval("recall/b").is_known


def test_the_interval_of_the_auc_is_normal_and_ends_at_0_and_1() -> None:
    ids, probabilities = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5]])
    error = math.sqrt(0.5 / 4 + 1 / 24 / 4)  # by hand: test_one_right_and_one_wrong_are_as_unsure_as_can_be
    found = Metrics(Answers(("a", "b"), ids, probabilities), np.ones((2, 2)))
    known = found.interval("auc", confidence=0.5)
    assert (known.low, known.high) == pytest.approx((0.5 - 0.67449 * error, 0.5 + 0.67449 * error), rel=1e-4)
    known = found.interval("auc")
    assert (known.value, known.low, known.high) == (0.5, 0.0, 1.0)


def test_a_slice_with_a_higher_loss_or_a_lower_auc_is_behind_by_welchs_test() -> None:
    here, rest = made(60, seed=1), made(200, seed=2)
    parts = [means.contributions("loss", *_of(side))[0] for side in (here, rest)]
    test = stats.ttest_ind(*parts, equal_var=False, alternative="greater")
    found = measures.gap("loss", here, rest)
    assert (found.here, found.rest) == pytest.approx((parts[0].mean(), parts[1].mean()))
    assert found.p_behind == pytest.approx(test.pvalue)
    behind, low = parts[0].mean() - parts[1].mean(), test.confidence_interval(0.95).low
    assert (found.behind.value, found.behind.low) == pytest.approx((behind, low))
    assert found.behind.high == pytest.approx(behind + (behind - low))
    parts = [means.contributions("auc", *_of(side))[0] for side in (rest, here)]
    test = stats.ttest_ind(*parts, equal_var=False, alternative="greater")
    found = measures.gap("auc", here, rest)
    assert (found.behind.value, found.p_behind) == pytest.approx((found.rest - found.here, test.pvalue))


def _of(side: Metrics) -> tuple[np.ndarray, np.ndarray]:
    return side.answers.label_ids, side.answers.candidate


def test_one_example_or_equal_ones_prove_no_gap_of_the_loss() -> None:
    many, one = made(50), made(1)
    assert measures.gap("loss", one, many).p_behind == measures.gap("loss", many, one).p_behind == 1.0
    sure, unsure = (
        Metrics(Answers(("a", "b"), np.zeros(5, int), np.tile([p, 1 - p], (5, 1))), np.ones((2, 2)))
        for p in (0.5, 0.25)
    )
    found = measures.gap("loss", unsure, sure)
    assert found.behind.value == pytest.approx(math.log(2)) and not found.behind.is_known
    assert found.p_behind == 1.0
    none = measures.gap("loss", made(0), many)
    assert math.isnan(none.behind.value) and none.p_behind == 1.0


def test_slices_are_named_as_tfma_names_them() -> None:
    cells = {"b": np.array(["x", "x", "", "y"], object), "a": np.array(["1", "2", "1", "1"], object)}
    answers = Answers(("p", "q"), np.zeros(4, int), np.ones((4, 2)) / 2, columns=cells)
    found = {row.name: row.rows.tolist() for row in slices_of(answers, ["b", "b+a"])}
    assert found == {
        "": [0, 1, 2, 3],
        "b=x": [0, 1], "b=y": [3],
        "a=1+b=x": [0], "a=1+b=y": [3], "a=2+b=x": [1],
    }  # fmt: skip
