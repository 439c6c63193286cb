"""What the InfraValidator asks, and which answers it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from bert_pipeline.components import infra_requests, op_audit
from tests.bert_pipeline.length_model import LABELS, save_toy


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"probabilities": [[float("nan"), 1.0]]}, "serving_default answered probabilities that are NaN"),
        (
            {"probabilities": [[float("inf"), 0.0]]},
            "serving_default answered probabilities that are infinite",
        ),
        (
            {"probabilities": [[1.2, 0.8]]},
            "serving_default answered probabilities that add up to 2 and not to 1",
        ),
        ({"probabilities": [[1.5, -0.5]]}, "serving_default answered a negative probability, -0.5"),
        (
            {"probabilities": [[1.0]]},
            "serving_default answered probabilities of shape [1, 1] where [1, 2] is due",
        ),
        (
            {"labels": [["positive", "negative"]]},
            "serving_default answers labels other than the task's negative, positive",
        ),
        (
            {"label": ["neutral"]},
            "serving_default answered the label 'neutral', which the task does not have",
        ),
        ({"label": None}, "serving_default answers without label; it gives labels, probabilities"),
        ({}, ""),
    ],
)
def test_answer_that_is_no_distribution_over_the_labels_is_refused(
    changed: dict[str, Any], expected: str
) -> None:
    outputs = {"label": ["positive"], "labels": [list(LABELS)], "probabilities": [[0.25, 0.75]], **changed}
    (request, _) = infra_requests.build_requests([b""], model_name="m", text_columns=["text"], num_requests=2)
    response = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        if value is not None:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    if not expected:
        infra_requests.check_response(request, response, labels=LABELS)
        return
    with pytest.raises(infra_requests.Refused) as refusal:
        infra_requests.check_response(request, response, labels=LABELS)
    assert str(refusal.value).startswith(expected)


def test_model_of_other_text_columns_is_refused(tmp_path: Path) -> None:
    graph = op_audit.read_serving_graph(save_toy(tmp_path) / "Format-Serving")
    with pytest.raises(
        infra_requests.Refused, match="^serving_default takes text, and the task has body, title$"
    ):
        infra_requests.check_signatures(graph, text_columns=["title", "body"])
