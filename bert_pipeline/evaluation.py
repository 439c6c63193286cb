"""Task -> tfma.EvalConfig: what is measured, on which slices, and which bounds refuse a model."""

from __future__ import annotations

import difflib

import bert_task
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from bert_pipeline import metrics, scores
from bert_pipeline.errors import UserError

CANDIDATE = "candidate"
BASELINE = "baseline"

# A metric that lies on its bound passes, whichever way the last bit of 0.78 - 0.80 was rounded.
_ROUNDING = 1e-9

# How far over 1/num_labels a task without gates wants macro_f1: three standard errors of an accuracy of one half
# over 1,000 examples (sqrt(0.25 / 1000) = 0.016).
_DEFAULT_MARGIN = 0.05

_INTERVAL_METHODS = {
    "jackknife": config_pb2.ConfidenceIntervalOptions.JACKKNIFE,
    "bootstrap": config_pb2.ConfidenceIntervalOptions.POISSON_BOOTSTRAP,
}


def gates_of(task: bert_task.TaskConfig) -> tuple[bert_task.GateConfig, ...]:
    """The gates of a task; where it names none, the default ones.

    Without any threshold the Evaluator blesses nothing and says nothing. The defaults: macro_f1 clearly above
    1/num_labels, which a model that answers one label only cannot pass (its F1 is at most 1 for that label and
    0 for the rest), and accuracy at most 0.02 below the baseline's.
    """
    if task.evaluation.gates:
        return task.evaluation.gates
    floor = round(1 / len(task.data.labels) + _DEFAULT_MARGIN, 4)
    return (
        bert_task.GateConfig(metric=scores.MACRO_F1, min=floor),
        bert_task.GateConfig(metric=scores.ACCURACY, max_drop=0.02),
    )


def eval_config(task: bert_task.TaskConfig) -> config_pb2.EvalConfig:
    """Builds the Evaluator's configuration.

    Args:
        task: a task whose values `config.load_task` has checked.

    Returns:
        Two ModelSpecs over the model's `serve_examples` and `transform_features` signatures (the Evaluator
        drops the baseline's, and every bound against it, where there is no baseline), one MetricsSpec with all
        metrics and bounds, and the slices, all data first.

    Raises:
        UserError: a gate names a metric or a label that there is not.
    """
    gates = gates_of(task)
    for i, gate in enumerate(gates):
        _check_metric(gate.metric, key=f"evaluation.gates[{i}].metric", task=task)
    config = config_pb2.EvalConfig(
        model_specs=[_model_spec(CANDIDATE), _model_spec(BASELINE)],
        metrics_specs=[_metrics_spec(task, gates)],
        slicing_specs=[config_pb2.SlicingSpec(), *(slicing_spec(name) for name in task.evaluation.slices)],
    )
    config.options.include_default_metrics.value = False
    if task.evaluation.intervals in _INTERVAL_METHODS:
        config.options.compute_confidence_intervals.value = True
        config.options.confidence_intervals.method = _INTERVAL_METHODS[task.evaluation.intervals]
    return config


def is_beyond_thresholds(gate: bert_task.GateConfig) -> bool:
    """Whether a gate asks for what TFMA's thresholds cannot do, so that `judging` decides it."""
    return gate.confidence is not None or gate.max_gap is not None or gate.min_examples > 0


def slicing_spec(name: str) -> config_pb2.SlicingSpec:
    """What a slice of a gate or of `evaluation.slices` selects.

    Args:
        name: empty (all data), `column` (each of its values), `column=value`, or `a+b` (two columns crossed).
            Everything after the first `=` is the value.

    Example:
        >>> slicing_spec("category=men's dress shoes").feature_values["category"]
        "men's dress shoes"
    """
    if not name:
        return config_pb2.SlicingSpec()
    column, equals, value = name.partition("=")
    if equals:
        return config_pb2.SlicingSpec(feature_values={column: value})
    return config_pb2.SlicingSpec(feature_keys=column.split("+"))


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


def _metrics_spec(
    task: bert_task.TaskConfig, gates: tuple[bert_task.GateConfig, ...]
) -> config_pb2.MetricsSpec:
    labels = list(task.data.labels)
    probability = _metric_config(metrics.ProbabilityScores(num_labels=len(labels)))
    costs = scores.cost_matrix(task.evaluation.costs, labels).tolist() if task.evaluation.costs else None
    confusion = _metric_config(metrics.ConfusionScores(labels=labels, costs=costs))
    spec = config_pb2.MetricsSpec(metrics=[probability, confusion])
    # On every gated slice there must be examples. A bound against the baseline vanishes in the first run, and
    # with it the Evaluator's notice that its slice is empty; and with no bound left at all nothing is blessed.
    for name in dict.fromkeys(["", *(gate.slice for gate in gates)]):
        _add(spec, scores.EXAMPLE_COUNT, slice_name=name, threshold=_at_least(1))
    for gate in gates:
        for threshold in [] if is_beyond_thresholds(gate) else _thresholds(gate):
            _add(spec, gate.metric, slice_name=gate.slice, threshold=threshold)
    return spec


def _metric_config(metric: metrics.ProbabilityScores | metrics.ConfusionScores) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=type(metric).__name__, module=metrics.__name__, config=metrics.config_json(metric)
    )


def _add(
    spec: config_pb2.MetricsSpec, metric: str, *, slice_name: str, threshold: config_pb2.MetricThreshold
) -> None:
    spec.per_slice_thresholds[metric].thresholds.add(
        slicing_specs=[slicing_spec(slice_name)], threshold=threshold
    )


def _thresholds(gate: bert_task.GateConfig) -> list[config_pb2.MetricThreshold]:
    """One threshold a bound, so that a refusal can be traced to the bound."""
    thresholds = []
    if gate.min is not None:
        thresholds.append(_at_least(gate.min))
    if gate.max is not None:
        value = config_pb2.GenericValueThreshold(upper_bound={"value": gate.max + _ROUNDING})
        thresholds.append(config_pb2.MetricThreshold(value_threshold=value))
    if gate.max_drop is not None:
        # TFMA wants candidate - baseline >= absolute.
        thresholds.append(_change(-gate.max_drop - _ROUNDING, config_pb2.MetricDirection.HIGHER_IS_BETTER))
    if gate.max_rise is not None:
        thresholds.append(_change(gate.max_rise + _ROUNDING, config_pb2.MetricDirection.LOWER_IS_BETTER))
    if gate.min_gain is not None:
        is_error = gate.metric in scores.LOWER_IS_BETTER
        bound = -gate.min_gain + _ROUNDING if is_error else gate.min_gain - _ROUNDING
        names = config_pb2.MetricDirection
        thresholds.append(_change(bound, names.LOWER_IS_BETTER if is_error else names.HIGHER_IS_BETTER))
    return thresholds


def _at_least(bound: float) -> config_pb2.MetricThreshold:
    value = config_pb2.GenericValueThreshold(lower_bound={"value": bound - _ROUNDING})
    return config_pb2.MetricThreshold(value_threshold=value)


def _change(absolute: float, direction: config_pb2.MetricDirection) -> config_pb2.MetricThreshold:
    change = config_pb2.GenericChangeThreshold(absolute={"value": absolute}, direction=direction)
    return config_pb2.MetricThreshold(change_threshold=change)


def _check_metric(name: str, *, key: str, task: bert_task.TaskConfig) -> None:
    labels = task.data.labels
    known = scores.metric_names(labels, with_cost=bool(task.evaluation.costs))
    if name in known:
        return
    if name == scores.EXPECTED_COST:
        raise UserError(f"{key} is {name!r}, and no answer has a cost; add a table [evaluation.costs]")
    kind, slash, label = name.partition("/")
    if slash and kind in ("precision", "recall"):
        raise UserError(
            f"{key} is {name!r}, and {label!r} is not in data.labels; {_nearest(label, list(labels))}"
        )
    # The names per label would bury the rest where there are 77 labels.
    general = [metric for metric in known if "/" not in metric] + ["precision/<label>", "recall/<label>"]
    raise UserError(f"{key} is {name!r}, and there is no such metric; {_nearest(name, general)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known)}"
