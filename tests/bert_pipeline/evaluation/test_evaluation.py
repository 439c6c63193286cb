"""The Evaluator's configuration of a task."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow_model_analysis as tfma
from bert_task import DataConfig
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from bert_pipeline.evaluation import eval_config
from bert_pipeline.settings.checks import gates_of
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.sections import EvaluationConfig, GateConfig, TaskConfig


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
    config = tfma.utils.update_eval_config_with_defaults(eval_config.eval_config(task), has_baseline=True)
    thresholds = tfma.metrics.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config)
    result: dict[tuple[str, bool], list[tuple[str, float]]] = {}
    for key, pairs in thresholds.items():
        if key.model_name != eval_config.CANDIDATE:
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
    candidate, baseline = eval_config.eval_config(_task()).model_specs

    assert (candidate.name, candidate.is_baseline) == ("candidate", False)
    assert (baseline.name, baseline.is_baseline) == ("baseline", True)
    for spec in (candidate, baseline):
        assert spec.signature_name == "serve_examples"
        assert list(spec.preprocessing_function_names) == ["transform_features"]
        assert (spec.label_key, spec.prediction_key) == ("label_id", "probabilities")


def test_slices_are_all_data_then_columns_then_crossings() -> None:
    config = eval_config.eval_config(_task(slices=("category", "category+channel")))

    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["category"],
        ["category", "channel"],
    ]


def test_the_gates_are_no_thresholds_of_tfma_which_asks_for_an_example_only() -> None:
    task = _task(
        GateConfig("accuracy", min=0.7, max_drop=0.02),
        GateConfig("recall/negative", slice="category=men's dress shoes", min=0.6, confidence=0.9),
        GateConfig("accuracy", slice="category", max_gap=0.2),
    )

    assert _bounds(task) == {("example_count", False): [("", 1.0)]}
    assert not eval_config.eval_config(task).options.HasField("compute_confidence_intervals")


def test_expected_cost_needs_costs() -> None:
    gate = GateConfig("expected_cost", max=0.5)
    with pytest.raises(
        UserError, match=r"gates\[0\].metric is 'expected_cost', and no answer has a cost; add"
    ):
        eval_config.eval_config(_task(gate))

    priced = EvaluationConfig(gates=(gate,), costs={"negative": {"positive": 5.0}})
    config = eval_config.eval_config(dataclasses.replace(_task(), evaluation=priced))
    assert (
        '"costs": [[0.0, 1.0, 5.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]'
        in config.metrics_specs[0].metrics[1].config
    )


def test_a_task_without_gates_gets_the_default_ones() -> None:
    assert gates_of(_task()) == (GateConfig("macro_f1", min=0.3833), GateConfig("accuracy", max_drop=0.02))


def test_an_unknown_metric_is_refused_with_the_nearest_and_the_known_ones() -> None:
    with pytest.raises(UserError) as error:
        eval_config.eval_config(_task(GateConfig("loss", max=1.0), GateConfig("acuracy", min=0.7)))

    assert str(error.value) == (
        "evaluation.gates[1].metric is 'acuracy', and there is no such metric; did you mean 'accuracy'? Known: "
        "example_count, accuracy, macro_f1, auc, calibration_error, loss, precision/<label>, recall/<label>"
    )


def test_an_unknown_label_in_a_metric_is_refused_with_the_labels() -> None:
    with pytest.raises(UserError) as error:
        eval_config.eval_config(_task(GateConfig("precision/negatve", min=0.7)))

    assert str(error.value) == (
        "evaluation.gates[0].metric is 'precision/negatve', and 'negatve' is not in data.labels; "
        "did you mean 'negative'? Known: negative, neutral, positive"
    )


def test_a_slice_is_named_as_the_task_file_writes_it() -> None:
    key = metrics_for_slice_pb2.SliceKey()
    key.single_slice_keys.add(column="category", bytes_value="men's Größe".encode())
    key.single_slice_keys.add(column="stars", int64_value=5)

    assert eval_config.slice_name(key) == "category=men's Größe+stars=5"
