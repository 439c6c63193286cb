"""Task -> tfma.EvalConfig: the metrics and the slices."""

from __future__ import annotations

import bert_task
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from bert_pipeline import metrics
from bert_pipeline.judging import scores
from bert_pipeline.settings import metric_names, sections
from bert_pipeline.settings.checks import gates_of
from bert_pipeline.settings.errors import UserError, did_you_mean

CANDIDATE = "candidate"
BASELINE = "baseline"


def eval_config(task: sections.TaskConfig) -> config_pb2.EvalConfig:
    """Builds the Evaluator's configuration.

    Args:
        task: a task whose values `config.load_task` has checked.

    Returns:
        Two ModelSpecs over the model's `serve_examples` and `transform_features` signatures (the Evaluator
        drops the second one without a baseline), one MetricsSpec with all metrics, and the slices, all
        data first. The gates are not TFMA thresholds: `judging` checks them.

    Raises:
        UserError: a gate names an unknown metric or label.
    """
    for i, gate in enumerate(gates_of(task)):
        _check_metric(gate.metric, key=f"evaluation.gates[{i}].metric", task=task)
    config = config_pb2.EvalConfig(
        model_specs=[_model_spec(CANDIDATE), _model_spec(BASELINE)],
        metrics_specs=[_metrics_spec(task)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=name.split("+")) for name in task.evaluation.slices),
        ],
    )
    config.options.include_default_metrics.value = False
    return config


def slice_name(key: metrics_for_slice_pb2.SliceKey) -> str:
    """Name of a slice as the task file writes it; empty for all data."""
    return "+".join(f"{single.column}={_slice_value(single)}" for single in key.single_slice_keys)


def _slice_value(key: metrics_for_slice_pb2.SingleSliceKey) -> str:
    value = getattr(key, key.WhichOneof("kind") or "bytes_value")
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _model_spec(name: str) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        name=name,
        is_baseline=name == BASELINE,
        signature_name="serve_examples",
        preprocessing_function_names=["transform_features"],
        label_key=bert_task.LABEL_ID,
        prediction_key="probabilities",
    )


def _metrics_spec(task: sections.TaskConfig) -> config_pb2.MetricsSpec:
    labels = list(task.data.labels)
    probability = _metric_config(metrics.ProbabilityScores(num_labels=len(labels)))
    costs = scores.cost_matrix(task.evaluation.costs, labels).tolist() if task.evaluation.costs else None
    confusion = _metric_config(metrics.ConfusionScores(labels=labels, costs=costs))
    spec = config_pb2.MetricsSpec(metrics=[probability, confusion])
    # TFX blesses nothing without a threshold. This one requires one example; `judging` decides the rest.
    lower = config_pb2.GenericValueThreshold(lower_bound={"value": 1})
    spec.per_slice_thresholds[metric_names.EXAMPLE_COUNT].thresholds.add(
        slicing_specs=[config_pb2.SlicingSpec()], threshold=config_pb2.MetricThreshold(value_threshold=lower)
    )
    return spec


def _metric_config(metric: metrics.ProbabilityScores | metrics.ConfusionScores) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=type(metric).__name__, module=metrics.__name__, config=metrics.config_json(metric)
    )


def _check_metric(name: str, *, key: str, task: sections.TaskConfig) -> None:
    labels = task.data.labels
    known = metric_names.metric_names(labels, with_cost=bool(task.evaluation.costs))
    if name in known:
        return
    if name == metric_names.EXPECTED_COST:
        raise UserError(f"{key} is {name!r}, and no answer has a cost; add a table [evaluation.costs]")
    kind, slash, label = name.partition("/")
    if slash and kind in ("precision", "recall"):
        raise UserError(
            f"{key} is {name!r}, and {label!r} is not in data.labels; {did_you_mean(label, labels)}"
        )
    # With 77 labels, the names per label would bury the rest.
    general = [metric for metric in known if "/" not in metric] + ["precision/<label>", "recall/<label>"]
    raise UserError(f"{key} is {name!r}, and there is no such metric; {did_you_mean(name, general)}")
