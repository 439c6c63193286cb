"""Metrics against values computed by hand."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from bert_pipeline import metrics
from bert_pipeline.judging import scores

LABELS = ("negative", "neutral", "positive")


def test_scores_of_a_small_confusion_matrix() -> None:
    #                  answered: negative, neutral, positive
    matrix = np.array([[6.0, 1.0, 1.0], [2.0, 3.0, 0.0], [0.0, 1.0, 6.0]])

    result = scores.scores_from_confusion(matrix, LABELS)

    assert result == pytest.approx(
        {
            "example_count": 20.0,
            "accuracy": 15 / 20,
            "precision/negative": 6 / 8,
            "precision/neutral": 3 / 5,
            "precision/positive": 6 / 7,
            "recall/negative": 6 / 8,
            "recall/neutral": 3 / 5,
            "recall/positive": 6 / 7,
            # F1: 12/16, 6/10, 12/14.
            "macro_f1": (0.75 + 0.6 + 12 / 14) / 3,
        }
    )


def test_a_label_that_is_never_answered_has_no_precision_and_costs_macro_f1() -> None:
    result = scores.scores_from_confusion(np.array([[4.0, 0.0], [4.0, 0.0]]), ("a", "b"))

    assert math.isnan(result["precision/b"])
    assert result["recall/b"] == 0.0
    assert result["macro_f1"] == pytest.approx((2 * 4 / 12 + 0.0) / 2)


def test_a_label_that_a_slice_does_not_hold_has_no_recall_and_is_left_out_of_macro_f1() -> None:
    result = scores.scores_from_confusion(np.array([[3.0, 0.0], [0.0, 0.0]]), ("a", "b"))

    assert math.isnan(result["recall/b"]) and result["macro_f1"] == 1.0


def test_costs_that_are_not_named_are_0_where_right_and_1_where_wrong() -> None:
    costs = scores.cost_matrix({"negative": {"positive": 5.0}, "neutral": {"neutral": 0.5}}, LABELS)

    assert costs.tolist() == [[0.0, 1.0, 5.0], [1.0, 0.5, 1.0], [1.0, 1.0, 0.0]]


def test_expected_cost_is_the_mean_over_the_examples() -> None:
    matrix = np.array([[6.0, 1.0, 1.0], [2.0, 3.0, 0.0], [0.0, 1.0, 6.0]])
    costs = scores.cost_matrix({"negative": {"positive": 5.0}}, LABELS)

    # 1 at 5, 4 at 1, of 20.
    assert scores.expected_cost(matrix, costs) == pytest.approx(9 / 20)
    assert math.isnan(scores.expected_cost(np.zeros([3, 3]), costs))


def _tally(*examples: tuple[int, list[float]]) -> scores.Tally:
    tally = scores.Tally.empty(len(examples[0][1]))
    for label_id, probabilities in examples:
        tally.add(label_id, np.array(probabilities, dtype=np.float32))
    return tally


def test_auc_counts_pairs_in_the_right_order_and_ties_as_half() -> None:
    # Scores of label 1: positives 0.9 and 0.4, negatives 0.4 and 0.1: pairs 1, 1, 1/2, 1 of 4. The same for label 0.
    tally = _tally((1, [0.1, 0.9]), (1, [0.6, 0.4]), (0, [0.6, 0.4]), (0, [0.9, 0.1]))

    assert tally.scores()["auc"] == pytest.approx(3.5 / 4)


def test_auc_tells_saturated_probabilities_apart() -> None:
    tally = _tally((1, [1e-6, 1 - 1e-6]), (0, [1e-5, 1 - 1e-5]))

    assert tally.scores()["auc"] == 1.0


def test_auc_is_not_defined_where_all_examples_have_one_label() -> None:
    assert math.isnan(_tally((0, [0.9, 0.1]), (0, [0.8, 0.2])).scores()["auc"])


def test_auc_averages_over_labels_and_agrees_with_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    labels = random.integers(0, 4, size=300)
    logits = random.normal(size=[300, 4]) + np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    result = _tally(*zip(labels, probabilities, strict=True)).scores()["auc"]

    expected = sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert result == pytest.approx(expected, abs=2e-3)


def test_calibration_error_weighs_the_gap_of_each_bin() -> None:
    # 0.95 twice, one right: gap 0.45. 0.65 twice, both right: gap 0.35. Half of the examples each.
    tally = _tally((0, [0.95, 0.05]), (1, [0.95, 0.05]), (0, [0.65, 0.35]), (1, [0.35, 0.65]))

    assert tally.scores()["calibration_error"] == pytest.approx(0.5 * 0.45 + 0.5 * 0.35, abs=1e-6)


def test_loss_is_the_mean_cross_entropy_and_stays_finite() -> None:
    tally = _tally((0, [0.5, 0.5]), (0, [0.0, 1.0]))

    assert tally.scores()["loss"] == pytest.approx((math.log(2) + 7 * math.log(10)) / 2)


def test_merged_tallies_equal_one_tally() -> None:
    first, second = (0, [0.7, 0.3]), (1, [0.2, 0.8])
    merged = _tally(first)
    merged.merge(_tally(second))

    assert merged.scores() == pytest.approx(_tally(first, second).scores())


def test_a_tally_travels_without_its_empty_bins() -> None:
    tally = _tally((0, [0.7, 0.3]), (1, [0.4, 0.6]), (1, [0.8, 0.2]))
    sent = pickle.dumps(tally)

    assert len(sent) < 2000 < tally.auc_counts.nbytes
    assert pickle.loads(sent).scores() == tally.scores()


def test_one_nan_probability_leaves_nothing_defined() -> None:
    values = _tally((0, [0.7, 0.3]), (0, [math.nan, math.nan])).scores()

    assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize("label_id", [-1, 2])
def test_an_example_without_a_known_label_stops_the_evaluation(label_id: int) -> None:
    with pytest.raises(ValueError, match=f"label_id is {label_id} beside 2 probabilities"):
        _tally((label_id, [0.7, 0.3]))


def test_accuracy_is_not_defined_where_a_probability_was_nan() -> None:
    computations = metrics.ConfusionScores(labels=["a", "b"]).computations(model_names=[""])
    matrix_key = computations[-2].keys[0]
    loss_key = computations[0].keys[0]

    result = computations[-1].result({matrix_key: {0.0: {(0, 0): 3.0}}, loss_key: math.nan})

    by_name = {key.name: value for key, value in result.items()}
    assert by_name["example_count"] == 3.0
    assert math.isnan(by_name["accuracy"]) and math.isnan(by_name["recall/a"])
