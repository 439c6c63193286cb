"""The REST API's status, metadata, codes and errors: lines R11 to R18 of the contract."""

from __future__ import annotations

import grpc
import pytest

from serving.model_server.errors import ServingError
from tests.serving.contract.rest_calls import HI, Rest, available


def test_r11_status_lists_versions_in_descending_order(rest: Rest) -> None:
    answer = rest.get("/v1/models/toy")
    assert answer.status == 200
    assert answer.json == {"model_version_status": [available("2"), available("1")]}
    assert rest.get("/v1/models/toy/versions/1").json == {"model_version_status": [available("1")]}


def test_r12_status_under_a_label_ignores_the_label(rest: Rest) -> None:
    everything = rest.get("/v1/models/toy").json
    assert rest.get("/v1/models/toy/labels/stable").json == everything
    assert rest.get("/v1/models/toy/labels/unknown").json == everything


def test_r13_status_of_what_is_unknown_is_404(rest: Rest) -> None:
    answer = rest.get("/v1/models/nobody")
    assert (answer.status, answer.error) == (404, "Could not find any versions of model nobody")
    answer = rest.get("/v1/models/toy/versions/9")
    assert (answer.status, answer.error) == (404, "Could not find version 9 of model toy")


def test_r14_metadata_keeps_proto_names_and_prints_defaults(rest: Rest) -> None:
    answer = rest.get("/v1/models/toy/metadata").json
    assert answer["model_spec"] == {"name": "toy", "signature_name": "", "version": "2"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    arithmetic = signatures["arithmetic"]
    assert arithmetic["method_name"] == "tensorflow/serving/predict"
    assert arithmetic["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert arithmetic["inputs"]["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
        "unknown_rank": False,
    }
    assert signatures["busy"]["inputs"]["turns"]["tensor_shape"] == {"dim": [], "unknown_rank": False}
    assert signatures["any_shape"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


@pytest.mark.parametrize(
    ("where", "wanted"), [("nobody", "Latest(nobody)"), ("toy/versions/9", "Specific(toy, 9)")]
)
def test_r15_inference_and_metadata_without_a_servable_are_404(rest: Rest, where: str, wanted: str) -> None:
    expected = (404, f"Servable not found for request: {wanted}")
    answer = rest.post(HI, f"/v1/models/{where}:predict")
    assert (answer.status, answer.error) == expected
    for verb in ("classify", "regress"):
        answer = rest.post({"examples": [{"x": 1.0}]}, f"/v1/models/{where}:{verb}")
        assert (answer.status, answer.error) == expected
    answer = rest.get(f"/v1/models/{where}/metadata")
    assert (answer.status, answer.error) == expected


@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_r16_inference_with_an_unknown_label_is_400(rest: Rest, verb: str) -> None:
    answer = rest.post({**HI, "examples": [{"x": 1.0}]}, f"/v1/models/toy/labels/old:{verb}")
    assert (answer.status, answer.error) == (400, "Unrecognized servable version label: old")


R17 = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@pytest.mark.ours  # of a table, and not of the server
def test_r17_every_code_has_its_status() -> None:
    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    assert {code.name: ServingError(code, "").http_status for code in codes} == R17


def test_r17_codes_of_the_graph_and_of_the_front(rest: Rest) -> None:
    assert rest.predict("to_number", instances=["one"]).status == 400
    assert rest.predict("half", inputs=[1.0]).status == 501
    assert rest.post(HI, "/v1/models/nobody:predict").status == 404


def test_r18_an_error_is_one_message_and_nothing_else(rest: Rest) -> None:
    answer = rest.predict("to_number", instances=['line\n"quoted" \u00e9'])
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert 'line\n"quoted" \u00e9' in answer.error
