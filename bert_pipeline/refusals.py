"""Why a model was refused, in sentences: which metric, on which slice, by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2

from bert_pipeline import evaluation, scores


def refusal_sentence(
    metric: str, *, slice_name: str, threshold: config_pb2.MetricThreshold, value: float, baseline: float
) -> str:
    """Tells one broken bound.

    Args:
        metric: its name.
        slice_name: empty for all data.
        threshold: the bound, as `evaluation` made it: one value threshold or one change threshold.
        value: the candidate's; NaN where it is not defined.
        baseline: the baseline's; NaN where there is none.

    Example:
        >>> bound = config_pb2.MetricThreshold(value_threshold={"lower_bound": {"value": 0.7}})
        >>> refusal_sentence("accuracy", slice_name="category=boots", threshold=bound, value=0.61, baseline=math.nan)
        'accuracy on category=boots is 0.61, below the bound 0.70 (by 0.09)'
    """
    subject = f"{metric} on {slice_name or 'all data'}"
    if threshold.HasField("change_threshold"):
        return f"{subject} is {_change_text(metric, threshold.change_threshold, value, baseline)}"
    bounds = threshold.value_threshold
    is_lower = bounds.HasField("lower_bound")
    bound = bounds.lower_bound.value if is_lower else bounds.upper_bound.value
    if math.isnan(value):
        return f"{subject} is {_undefined(metric)}, and must be at {'least' if is_lower else 'most'} {_plain(bound)}"
    shown, limit, amount = _format(metric, value, bound, abs(value - bound))
    typed = round(bound, 6)
    if float(limit) != typed == round(typed, 3):  # a bound that somebody wrote: 0.999 must not become 1.00
        limit = _plain(bound)
    return f"{subject} is {shown}, {'below' if is_lower else 'above'} the bound {limit} (by {amount})"


def _change_text(
    metric: str, change: config_pb2.GenericChangeThreshold, value: float, baseline: float
) -> str:
    is_drop = change.direction == config_pb2.MetricDirection.HIGHER_IS_BETTER
    word, allowed = ("below", -change.absolute.value) if is_drop else ("above", change.absolute.value)
    if round(allowed, 6) < 0:  # a wanted gain is a drop of less than nothing
        return _gain_text(metric, value, baseline, is_drop=is_drop, wanted=-allowed)
    limit = f"at most {_plain(allowed)} {word} the baseline's"
    if math.isnan(value):
        return f"{_undefined(metric)}, and must lie {limit}"
    if math.isnan(baseline):
        return f"{_format(metric, value)[0]} and the baseline's is not defined, so it cannot be shown to lie {limit}"
    shown, base, amount = _format(metric, value, baseline, abs(value - baseline))
    return f"{shown}, {amount} {word} the baseline's {base} (allowed {_plain(allowed)})"


def _gain_text(metric: str, value: float, baseline: float, *, is_drop: bool, wanted: float) -> str:
    better, worse = ("above", "below") if is_drop else ("below", "above")
    if math.isnan(value) or math.isnan(baseline):
        known = _undefined(metric) if math.isnan(value) else f"{value:.2f} and the baseline's is not defined"
        return f"{known}, so it cannot be shown to lie at least {_plain(wanted)} {better} the baseline's"
    shown, base, amount = _format(metric, value, baseline, abs(value - baseline))
    word = better if (value > baseline) == is_drop else worse
    return f"{shown}, {amount} {word} the baseline's {base} (wanted: {_plain(wanted)} {better})"


def _undefined(metric: str) -> str:
    kind, _, label = metric.partition("/")
    reasons = {
        "precision": f" (the model never answers {label})",
        "recall": f" (no example has the label {label})",
    }
    return f"not defined{reasons.get(kind, '')}"


def _plain(bound: float) -> str:
    # Bounds carry `evaluation`'s allowance for rounding in the ninth decimal.
    bound = round(bound, 6) + 0.0
    return f"{bound:.2f}" if bound == round(bound, 2) else f"{bound:g}"


def _format(metric: str, *values: float) -> list[str]:
    """Writes numbers with 2 decimals, or with as many (at most 6) as it takes to tell them from each other."""
    if metric == scores.EXAMPLE_COUNT:
        return [f"{round(value)}" for value in values]
    for decimals in range(2, 6):
        texts = [f"{value:.{decimals}f}" for value in values]
        exact = [round(value, 6) for value in values]
        if all((float(text) == 0) == (value == 0) for text, value in zip(texts, exact, strict=True)) and (
            len(set(texts)) == len(set(exact))
        ):
            return texts
    return [f"{value:.6f}" for value in values]


def refusals_of(
    validation: validation_result_pb2.ValidationResult,
    *,
    metrics: Mapping[str, Mapping[str, float]],
    baseline: Mapping[str, Mapping[str, float]],
) -> Iterator[str]:
    """Tells every broken bound of an evaluation.

    Args:
        validation: what the Evaluator decided.
        metrics: the candidate's metrics by slice name and metric.
        baseline: the baseline's, alike; empty where there is none.
    """
    for failed in validation.metric_validations_per_slice:
        name = evaluation.slice_name(failed.slice_key)
        for failure in failed.failures:
            metric = failure.metric_key.name
            yield refusal_sentence(
                metric,
                slice_name=name,
                threshold=failure.metric_threshold,
                value=metrics.get(name, {}).get(metric, math.nan),
                baseline=baseline.get(name, {}).get(metric, math.nan),
            )
    for spec in validation.missing_slices:
        yield _missing_text(spec)
    if validation.missing_thresholds:
        yield "nothing was measured on any bound: the evaluated examples are missing"


def _missing_text(spec: config_pb2.SlicingSpec) -> str:
    if spec.feature_values:
        column, value = next(iter(spec.feature_values.items()))
        return f"no evaluated example has {column}={value}, and a gate bounds that slice"
    if spec.feature_keys:
        return f"no evaluated example has {' and '.join(sorted(spec.feature_keys))}, and a gate bounds each value of it"
    return "there is no example to evaluate"
