"""The REST API's routes, headers and encodings: lines R1 to R10 of the contract."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from tests.serving.contract.rest_calls import HI, Rest, available

SHORT = {"predictions": [{"label": "short", "labels": ["short", "long"], "probabilities": [0.8, 0.2]}]}


@pytest.mark.parametrize("path", ["/other", "/v1", "/v2/models/toy", "/models/toy"])
def test_r1_outside_v1_is_404_and_not_json(rest: Rest, path: str) -> None:
    answer = rest.get(path)
    assert answer.status == 404
    assert not answer.body.startswith(b"{")


def test_r1_no_route_has_a_query(rest: Rest) -> None:
    answer = rest.post(HI, "/v1/models/toy:predict?a=b")
    assert (answer.status, answer.error) == (400, "Malformed request: POST /v1/models/toy:predict?a=b")
    assert rest.get("/v1/models/other?a=b").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/toy:predict",
        "/V1/Models/toy:predict",
        "/v1/models/toy/versions/1:predict",
        "/V1/MODELS/toy/VERSIONS/2:predict",
        "/v1/models/toy/labels/stable:predict",
        "/v1/models/toy/LABELS/stable:predict",
    ],
)
def test_r2_predict_by_name_version_and_label_in_any_case(rest: Rest, path: str) -> None:
    answer = rest.post(HI, path)
    assert (answer.status, answer.json) == (200, SHORT)


@pytest.mark.parametrize(("where", "offset"), [("", 2.0), ("/versions/1", 1.0), ("/labels/stable", 1.0)])
def test_r2_regress_and_classify_by_name_version_and_label(rest: Rest, where: str, offset: float) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 0.5}]}
    assert rest.post(body, f"/v1/models/toy{where}:regress").json == {"results": [0.5 + offset]}
    body = {"signature_name": "classify", "examples": [{"x": 0.25}]}
    assert rest.post(body, f"/v1/models/toy{where}:classify").json == {
        "results": [[["short", 0.25], ["long", 0.75]]]
    }


def test_r3_metadata_matches_in_any_case_but_is_metadata_in_lower_case_only(rest: Rest) -> None:
    assert list(rest.get("/v1/models/toy/metadata").json) == ["model_spec", "metadata"]
    assert list(rest.get("/v1/models/toy/versions/1/metadata").json) == ["model_spec", "metadata"]
    assert list(rest.get("/v1/models/toy/METADATA").json) == ["model_version_status"]
    spec = rest.get("/v1/models/toy/labels/stable/metadata").json["model_spec"]
    assert spec == {"name": "toy", "signature_name": "", "version": "1"}


def test_r4_names_and_labels_are_percent_decoded(rest: Rest) -> None:
    assert rest.post(HI, "/v1/models/two%20words:predict").json == SHORT
    assert rest.post(HI, "/v1/models/%74oy/labels/can%20ary:predict").json == SHORT
    assert rest.get("/v1/models/two%20words").json == {"model_version_status": [available("7")]}
    answer = rest.get("/v1/models/a%2Fb%3Ac")
    assert (answer.status, answer.error) == (404, "Could not find any versions of model a/b:c")


def test_r5_there_is_no_listing(rest: Rest) -> None:
    answer = rest.get("/v1/models")
    assert (answer.status, answer.error) == (400, "Missing model name in request.")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/toy:predict"),
        ("GET", "/v1/models/toy/versions/one"),
        ("GET", "/v1/models/toy/versions/1/labels/stable"),
        ("POST", "/v1/models/toy"),
        ("POST", "/v1/models:predict"),
        ("POST", "/v1/models/toy:PREDICT"),
        ("POST", "/v1/models/toy:generate"),
        ("PUT", "/v1/models/toy:predict"),
        ("DELETE", "/v1/models/toy"),
        ("PATCH", "/v1/models/toy"),
    ],
)
def test_r6_other_paths_and_verbs_are_malformed(rest: Rest, method: str, path: str) -> None:
    answer = rest.call(method, path, HI if method == "POST" else None)
    assert (answer.status, answer.error) == (400, f"Malformed request: {method} {path}")


def test_r6_head_is_malformed_too(rest: Rest) -> None:
    answer = rest.call("HEAD", "/v1/models/toy")
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize("end", ["", "/metadata", ":predict"])
def test_r7_a_version_beyond_int64_is_400_with_no_body(rest: Rest, end: str) -> None:
    path = f"/v1/models/toy/versions/9223372036854775808{end}"
    answer = rest.post(HI, path) if end == ":predict" else rest.get(path)
    assert (answer.status, answer.body) == (400, b"")
    assert rest.get("/v1/models/toy/versions/9223372036854775807").status == 404


def test_r8_options_asks_for_an_origin(rest: Rest) -> None:
    path = "/v1/models/toy:predict"
    for origin in ("http://example.org", "https://example.org"):
        answer = rest.call("OPTIONS", path, headers={"Origin": origin})
        assert (answer.status, answer.body) == (200, b"")
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert rest.call("OPTIONS", path).status == 400
    answer = rest.call("OPTIONS", path, headers={"Origin": "ftp://example.org"})
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/toy:predict"),
        ("GET", "/v1/models/toy"),
        ("GET", "/v1/models/toy/metadata"),
        ("GET", "/v1/nothing"),
    ],
)
def test_r9_replies_are_application_json(rest: Rest, method: str, path: str) -> None:
    assert rest.call(method, path, HI).headers["Content-Type"] == "application/json"


def gzipped(rest: Rest, body: bytes) -> tuple[int, object]:
    answer = rest.call("POST", "/v1/models/toy:predict", body, headers={"Content-Encoding": "gzip"})
    return answer.status, answer.json


def test_r10_an_unknown_encoding_is_ignored(rest: Rest) -> None:
    answer = rest.call("POST", "/v1/models/toy:predict", json.dumps(HI), headers={"Content-Encoding": "br"})
    assert (answer.status, answer.json) == (200, SHORT)


def test_r18_a_rest_error_is_not_cut(rest: Rest) -> None:
    answer = rest.post({"instances": "x" * 5000})
    assert answer.error.endswith("""x"\n} Expecting 'instances' to be an list/array""")
    assert len(answer.error) > 5000


@pytest.mark.ours
def test_r10_many_empty_gzip_members_are_refused_at_once(rest: Rest) -> None:
    start = time.monotonic()
    assert gzipped(rest, gzip.compress(b"", mtime=0) * 100_000)[0] == 400
    assert time.monotonic() - start < 5


def test_r10_gzip_bodies_are_accepted(rest: Rest) -> None:
    assert gzipped(rest, gzip.compress(json.dumps(HI).encode())) == (200, SHORT)
    padded = json.dumps(HI).encode() + b" " * (100 * 2**20 - len(json.dumps(HI)))
    assert gzipped(rest, gzip.compress(padded, 1)) == (200, SHORT)


@pytest.mark.ours
def test_r10_what_is_no_gzip_or_too_much_is_400(rest: Rest) -> None:
    packed = gzip.compress(json.dumps(HI).encode())
    empty = (400, {"error": "JSON Parse error: The document is empty"})
    assert gzipped(rest, packed[:-1]) == empty
    assert gzipped(rest, packed[:-8] + bytes(8)) == empty
    assert gzipped(rest, packed + gzip.compress(b"")) == empty
    assert gzipped(rest, json.dumps(HI).encode()) == empty
    too_large = "the body is larger than 104857600 bytes when unpacked, which is the limit"
    assert gzipped(rest, gzip.compress(bytes(100 * 2**20 + 1), 1)) == (400, {"error": too_large})
    assert rest.post(HI).status == 200
