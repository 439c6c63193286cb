"""Classify, Regress and MultiInference over gRPC, on tf.Examples."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from tests.serving.contract.calls import examples, refusal, spec, task

Code = grpc.StatusCode
Stub = Any


def classify_request(signature: str, request_input: Any = None) -> classification_pb2.ClassificationRequest:
    return classification_pb2.ClassificationRequest(model_spec=spec(signature=signature), input=request_input)


def regress_request(signature: str, request_input: Any = None) -> regression_pb2.RegressionRequest:
    return regression_pb2.RegressionRequest(model_spec=spec(signature=signature), input=request_input)


def classes(result: classification_pb2.ClassificationResult) -> list[list[tuple[str, float]]]:
    return [[(c.label, c.score) for c in one.classes] for one in result.classifications]


def regressions(result: regression_pb2.RegressionResult) -> list[float]:
    return [regression.value for regression in result.regressions]


def test_g9_classify_gives_labels_and_scores_for_each_example(prediction_service: Stub) -> None:
    request = classify_request("classify", examples([{"x": 0.25}, {"x": 1.0}]))
    response = prediction_service.Classify(request, timeout=60)
    assert classes(response.result) == [
        [("short", 0.25), ("long", 0.75)],
        [("short", 1.0), ("long", 0.0)],
    ]
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 2)
    assert response.model_spec.signature_name == "classify"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [("classify_scores", [[("", 0.25), ("", 0.75)]]), ("classify_classes", [[("a text", 0.0)]])],
)
def test_g9_a_model_may_give_scores_alone_or_classes_alone(
    prediction_service: Stub, signature: str, expected: Any
) -> None:
    request = classify_request(signature, examples([{"x": 0.25, "text": "a text"}]))
    assert classes(prediction_service.Classify(request, timeout=60).result) == expected


@pytest.mark.parametrize("signature", ["regress", "regress_column"])
def test_g9_regress_gives_a_value_for_each_example(prediction_service: Stub, signature: str) -> None:
    request = regress_request(signature, examples([{"x": 0.5, "n": 1}, {"n": 3}]))
    response = prediction_service.Regress(request, timeout=60)
    assert regressions(response.result) == [3.5, 5.0]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (2, signature)


def test_g9_a_context_is_part_of_every_example_and_gives_way_to_it(prediction_service: Stub) -> None:
    request = regress_request("regress", examples([{"x": 0.5}, {"n": 3}], context={"n": 1}))
    assert regressions(prediction_service.Regress(request, timeout=60).result) == [3.5, 5.0]


@pytest.mark.parametrize("empty", [None, examples([]), examples([], context={"n": 1}), input_pb2.Input()])
def test_g9_no_examples_are_refused(prediction_service: Stub, empty: Any) -> None:
    expected = (Code.INVALID_ARGUMENT, "Input is empty.")
    assert refusal(prediction_service.Classify, classify_request("classify", empty)) == expected
    assert refusal(prediction_service.Regress, regress_request("regress", empty)) == expected
    tasks = [task("classify", "classify")]
    multi = inference_pb2.MultiInferenceRequest(tasks=tasks, input=empty)
    assert refusal(prediction_service.MultiInference, multi) == expected


@pytest.mark.parametrize(
    ("signature", "classify_message", "regress_message"),
    [
        ("nope", "No signature was found with the name: nope", "No signature was found with the name: nope"),
        (
            "",
            "Expected one or two output Tensors, found 3",
            "Expected one output Tensor.",
        ),
    ],
)
def test_j8_classify_and_regress_need_a_signature_of_their_kind(
    prediction_service: Stub, signature: str, classify_message: str, regress_message: str
) -> None:
    one = examples([{"x": 1.0}])
    assert refusal(prediction_service.Classify, classify_request(signature, one)) == (
        Code.INVALID_ARGUMENT,
        classify_message,
    )
    assert refusal(prediction_service.Regress, regress_request(signature, one)) == (
        Code.INVALID_ARGUMENT,
        regress_message,
    )


def test_g2_classify_and_regress_must_name_their_model(prediction_service: Stub) -> None:
    missing = (Code.INVALID_ARGUMENT, "Missing ModelSpec")
    nameless = (Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    classify, regress = classification_pb2.ClassificationRequest(), regression_pb2.RegressionRequest()
    assert refusal(prediction_service.Classify, classify) == missing
    assert refusal(prediction_service.Regress, regress) == missing
    classify.model_spec.CopyFrom(spec(""))
    assert refusal(prediction_service.Classify, classify) == nameless


def test_g9_an_example_that_cannot_be_parsed_is_refused(prediction_service: Stub) -> None:
    request = regress_request("regress", examples([{"x": "a string where the model wants a float"}]))
    assert refusal(prediction_service.Regress, request)[0] is Code.INVALID_ARGUMENT


def test_g10_multi_inference_runs_several_signatures_on_the_same_examples(prediction_service: Stub) -> None:
    tasks = [task("regress", "regress"), task("classify", "classify"), task("regress_column", "regress")]
    request = inference_pb2.MultiInferenceRequest(tasks=tasks, input=examples([{"x": 0.25}, {"x": 1.0}]))
    first, second, third = prediction_service.MultiInference(request, timeout=60).results
    assert regressions(first.regression_result) == [2.25, 3.0]
    assert classes(second.classification_result)[1] == [("short", 1.0), ("long", 0.0)]
    assert regressions(third.regression_result) == [2.25, 3.0]
    specs = [result.model_spec for result in (first, second, third)]
    assert [(s.name, s.version.value, s.signature_name) for s in specs] == [
        ("toy", 2, "regress"),
        ("toy", 2, "classify"),
        ("toy", 2, "regress_column"),
    ]


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ([inference_pb2.InferenceTask()], Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            [task("classify", "classify"), task("regress", "regress", name="")],
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        ),
        (
            [task("classify", "classify"), task("regress", "regress", name="other")],
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [task("classify", "classify"), task("classify", "classify")],
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: classify",
        ),
        (
            [task("nope", "classify")],
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
        ),
        (
            [task("classify", "predict")],
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [task("arithmetic", "classify")],
            Code.INVALID_ARGUMENT,
            "Expected one input Tensor.",
        ),
    ],
)
def test_g10_tasks_that_cannot_be_are_refused(
    prediction_service: Stub, tasks: list[Any], code: grpc.StatusCode, message: str
) -> None:
    request = inference_pb2.MultiInferenceRequest(tasks=tasks, input=examples([{"x": 1.0}]))
    assert refusal(prediction_service.MultiInference, request) == (code, message)
