"""The sentences of a refusal; reading a whole evaluation is tested with the gates."""

from __future__ import annotations

import math

import pytest
from bert_task import GateConfig
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2, validation_result_pb2

from bert_pipeline import evaluation, refusals


def _sentence(gate: GateConfig, *, value: float, baseline: float = math.nan) -> str:
    (threshold,) = evaluation._thresholds(gate)
    return refusals.refusal_sentence(
        gate.metric, slice_name=gate.slice, threshold=threshold, value=value, baseline=baseline
    )


@pytest.mark.parametrize(
    ("gate", "value", "baseline", "sentence"),
    [
        (
            GateConfig("accuracy", slice="category=boots", min=0.7),
            0.61,
            math.nan,
            "accuracy on category=boots is 0.61, below the bound 0.70 (by 0.09)",
        ),
        (
            GateConfig("recall/negative", max_drop=0.02),
            0.55,
            0.67,
            "recall/negative on all data is 0.55, 0.12 below the baseline's 0.67 (allowed 0.02)",
        ),
        (
            GateConfig("calibration_error", max=0.1),
            0.25,
            math.nan,
            "calibration_error on all data is 0.25, above the bound 0.10 (by 0.15)",
        ),
        (
            GateConfig("loss", max_rise=0.005),
            0.5,
            0.42,
            "loss on all data is 0.50, 0.08 above the baseline's 0.42 (allowed 0.005)",
        ),
        (
            # Two decimals would say "0.70, below the bound 0.70 (by 0.00)".
            GateConfig("accuracy", min=0.7),
            0.6996,
            math.nan,
            "accuracy on all data is 0.6996, below the bound 0.7000 (by 0.0004)",
        ),
        (
            GateConfig("example_count", slice="category", min=100),
            30,
            math.nan,
            "example_count on category is 30, below the bound 100 (by 70)",
        ),
        (
            GateConfig("recall/negative", min=0.5),
            math.nan,
            math.nan,
            "recall/negative on all data is not defined (no example has the label negative), and must be at least 0.50",
        ),
        (
            GateConfig("accuracy", min_gain=0.02),
            0.81,
            0.8,
            "accuracy on all data is 0.81, 0.01 above the baseline's 0.80 (wanted: 0.02 above)",
        ),
        (
            GateConfig("loss", min_gain=0.1),
            0.5,
            0.42,
            "loss on all data is 0.50, 0.08 above the baseline's 0.42 (wanted: 0.10 below)",
        ),
        (
            GateConfig("auc", min_gain=0.1),
            0.5,
            math.nan,
            "auc on all data is 0.50 and the baseline's is not defined, so it cannot be shown to lie "
            "at least 0.10 above the baseline's",
        ),
        (
            GateConfig("auc", max_drop=0.01),
            0.9,
            math.nan,
            "auc on all data is 0.90 and the baseline's is not defined, so it cannot be shown to lie "
            "at most 0.01 below the baseline's",
        ),
    ],
)
def test_a_refusal_names_metric_slice_and_amount(
    gate: GateConfig, value: float, baseline: float, sentence: str
) -> None:
    assert _sentence(gate, value=value, baseline=baseline) == sentence


def test_missing_slices_are_told() -> None:
    validation = validation_result_pb2.ValidationResult(
        missing_slices=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=["channel"]),
            config_pb2.SlicingSpec(feature_values={"category": "men's dress shoes"}),
        ]
    )

    assert list(refusals.refusals_of(validation, metrics={}, baseline={})) == [
        "there is no example to evaluate",
        "no evaluated example has channel, and a gate bounds each value of it",
        "no evaluated example has category=men's dress shoes, and a gate bounds that slice",
    ]


def test_a_slice_is_named_as_the_task_file_writes_it() -> None:
    key = metrics_for_slice_pb2.SliceKey()
    key.single_slice_keys.add(column="category", bytes_value="men's Größe".encode())
    key.single_slice_keys.add(column="stars", int64_value=5)

    assert evaluation.slice_name(key) == "category=men's Größe+stars=5"
