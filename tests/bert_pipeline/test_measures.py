"""Metrics, intervals and tests of a change from the answers to each example, beside scikit-learn and scipy."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from bert_pipeline.judging import counts, measures, scores
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


def test_slices_are_named_as_tfma_names_them() -> None:
    cells = {"b": np.array(["x", "x", "", "y"], object), "a": np.array(["1", "2", "1", "1"], object)}
    answers = Answers(("p", "q"), np.zeros(4, int), np.ones((4, 2)) / 2, columns=cells)
    found = {row.name: row.rows.tolist() for row in slices_of(answers, ["b", "b+a"])}
    assert found == {
        "": [0, 1, 2, 3],
        "b=x": [0, 1], "b=y": [3],
        "a=1+b=x": [0], "a=1+b=y": [3], "a=2+b=x": [1],
    }  # fmt: skip
