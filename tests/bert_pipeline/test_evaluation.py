"""The Evaluator's configuration of a task."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow_model_analysis as tfma
from bert_task import DataConfig, EvaluationConfig, GateConfig, TaskConfig

from bert_pipeline import evaluation
from bert_pipeline.errors import UserError


def _task(*gates: GateConfig, slices: tuple[str, ...] = ("category",)) -> TaskConfig:
    data = DataConfig(
        path=".",
        text=("text",),
        label="label",
        labels=("negative", "neutral", "positive"),
        files={"all": "x.csv"},
    )
    return TaskConfig(
        name="t", description="", data=data, evaluation=EvaluationConfig(slices=slices, gates=gates)
    )


def _bounds(task: TaskConfig) -> dict[tuple[str, bool], list[tuple[str, float]]]:
    """(metric, against the baseline?) -> [(slice, bound)], of the candidate, as TFMA reads the configuration."""
    config = tfma.utils.update_eval_config_with_defaults(evaluation.eval_config(task), has_baseline=True)
    thresholds = tfma.metrics.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config)
    result: dict[tuple[str, bool], list[tuple[str, float]]] = {}
    for key, pairs in thresholds.items():
        if key.model_name != evaluation.CANDIDATE:
            continue
        for spec, threshold in pairs:
            values = [f"{k}={v}" for k, v in spec.feature_values.items()]
            bound = (
                threshold.absolute
                if key.is_diff
                else threshold.lower_bound
                if threshold.HasField("lower_bound")
                else threshold.upper_bound
            )
            result.setdefault((key.name, key.is_diff), []).append(
                ("+".join([*spec.feature_keys, *values]), round(bound.value, 6))
            )
    return result


def test_candidate_and_baseline_are_read_through_the_serving_signatures() -> None:
    candidate, baseline = evaluation.eval_config(_task()).model_specs

    assert (candidate.name, candidate.is_baseline) == ("candidate", False)
    assert (baseline.name, baseline.is_baseline) == ("baseline", True)
    for spec in (candidate, baseline):
        assert spec.signature_name == "serve_examples"
        assert list(spec.preprocessing_function_names) == ["transform_features"]
        assert (spec.label_key, spec.prediction_key) == ("label_id", "probabilities")


def test_slices_are_all_data_then_columns_then_crossings() -> None:
    config = evaluation.eval_config(_task(slices=("category", "category+channel")))

    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["category"],
        ["category", "channel"],
    ]


def test_each_bound_becomes_a_threshold_on_its_slice() -> None:
    task = _task(
        GateConfig("accuracy", min=0.7, max_drop=0.02),
        GateConfig("recall/negative", slice="category=men's dress shoes", min=0.6),
        GateConfig("loss", slice="category", max=0.9, max_rise=0.1),
    )

    assert _bounds(task) == {
        ("example_count", False): [("", 1.0), ("category=men's dress shoes", 1.0), ("category", 1.0)],
        ("accuracy", False): [("", 0.7)],
        ("accuracy", True): [("", -0.02)],
        ("recall/negative", False): [("category=men's dress shoes", 0.6)],
        ("loss", False): [("category", 0.9)],
        ("loss", True): [("category", 0.1)],
    }


def test_a_wanted_gain_is_a_threshold_in_the_direction_that_is_better() -> None:
    task = _task(GateConfig("accuracy", min_gain=0.02), GateConfig("loss", min_gain=0.1))
    config = tfma.utils.update_eval_config_with_defaults(evaluation.eval_config(task), has_baseline=True)
    thresholds = tfma.metrics.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config)
    found = {
        key.name: (round(pairs[0][1].absolute.value, 6), pairs[0][1].direction)
        for key, pairs in thresholds.items()
        if key.is_diff and key.model_name == evaluation.CANDIDATE
    }

    assert found == {"accuracy": (0.02, 2), "loss": (-0.1, 1)}  # 1: lower, 2: higher is better


def test_gates_with_confidence_or_between_slices_are_no_thresholds_of_tfma() -> None:
    task = _task(
        GateConfig("accuracy", min=0.7, confidence=0.95),
        GateConfig("accuracy", slice="category", max_gap=0.2),
        GateConfig("accuracy", slice="category", min=0.5, min_examples=20),
    )

    assert _bounds(task) == {("example_count", False): [("", 1.0), ("category", 1.0)]}


def test_intervals_are_tfmas_jackknife_unless_the_task_says_otherwise() -> None:
    def options(intervals: str):
        task = dataclasses.replace(_task(), evaluation=EvaluationConfig(intervals=intervals))
        return evaluation.eval_config(task).options

    assert evaluation.eval_config(_task()).options == options("jackknife")
    assert options("jackknife").compute_confidence_intervals.value
    assert options("jackknife").confidence_intervals.method == 2
    assert options("bootstrap").confidence_intervals.method == 1
    assert not options("none").HasField("compute_confidence_intervals")


def test_expected_cost_needs_costs() -> None:
    gate = GateConfig("expected_cost", max=0.5)
    with pytest.raises(
        UserError, match=r"gates\[0\].metric is 'expected_cost', and no answer has a cost; add"
    ):
        evaluation.eval_config(_task(gate))

    priced = EvaluationConfig(gates=(gate,), costs={"negative": {"positive": 5.0}})
    config = evaluation.eval_config(dataclasses.replace(_task(), evaluation=priced))
    assert (
        '"costs": [[0.0, 1.0, 5.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]'
        in config.metrics_specs[0].metrics[1].config
    )


def test_a_slice_value_may_hold_any_character() -> None:
    spec = evaluation.slicing_spec("category=a=b, c+d/é's")

    assert dict(spec.feature_values) == {"category": "a=b, c+d/é's"} and not spec.feature_keys


def test_a_task_without_gates_gets_the_default_ones() -> None:
    assert _bounds(_task()) == {
        ("example_count", False): [("", 1.0)],
        ("macro_f1", False): [("", 0.3833)],
        ("accuracy", True): [("", -0.02)],
    }


def test_an_unknown_metric_is_refused_with_the_nearest_and_the_known_ones() -> None:
    with pytest.raises(UserError) as error:
        evaluation.eval_config(_task(GateConfig("loss", max=1.0), GateConfig("acuracy", min=0.7)))

    assert str(error.value) == (
        "evaluation.gates[1].metric is 'acuracy', and there is no such metric; did you mean 'accuracy'? Known: "
        "example_count, accuracy, macro_f1, auc, calibration_error, loss, precision/<label>, recall/<label>"
    )


def test_an_unknown_label_in_a_metric_is_refused_with_the_labels() -> None:
    with pytest.raises(UserError) as error:
        evaluation.eval_config(_task(GateConfig("precision/negatve", min=0.7)))

    assert str(error.value) == (
        "evaluation.gates[0].metric is 'precision/negatve', and 'negatve' is not in data.labels; "
        "did you mean 'negative'? Known: negative, neutral, positive"
    )
