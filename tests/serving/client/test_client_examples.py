"""The same call by other means, as serving/client/README.md shows it: each example runs against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving.processes import ROOT, RunningServer

README = (ROOT / "serving" / "client" / "README.md").read_text(encoding="utf-8")
LABEL = "long"  # says the toy model of each text of the examples


def example(marker: str, server: RunningServer) -> str:
    """The indented block that holds the marker, for this server's addresses and model."""
    blocks = re.findall(r"(?:^(?: {4}.*|)\n)+", README, flags=re.MULTILINE)
    (block,) = [block for block in blocks if marker in block]
    code = textwrap.dedent(block).strip("\n")
    for old, new in (
        ("localhost:8501", server.rest_address),
        ("localhost:8500", server.grpc_address),
        ("shoes", "toy"),
    ):
        code = code.replace(old, new)
    return code


def run(tool: str, *arguments: str, cwd: Path) -> str:
    """What a program prints; skips the test where there is no such program."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} on this machine")
    done = subprocess.run([tool, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(server: RunningServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    predict, metadata = re.findall("^curl .*", example("curl -d", server), flags=re.MULTILINE)
    answer = json.loads(run("bash", "-c", predict.replace("curl", "curl -s"), cwd=tmp_path))
    assert answer["predictions"][0]["label"] == LABEL
    answer = json.loads(run("bash", "-c", metadata.replace("curl", "curl -s"), cwd=tmp_path))
    assert "serving_default" in answer["metadata"]["signature_def"]["signature_def"]


def test_python(server: RunningServer, tmp_path: Path) -> None:
    code = example("from serving.client import", server)
    lines = run(
        str(ROOT / ".venv/bin/python"),
        "-c",
        f"import sys; sys.path.append({str(ROOT)!r})\n{code}",
        cwd=tmp_path,
    )
    assert [line.split()[0] for line in lines.splitlines()] == [LABEL, LABEL]


def test_javascript(server: RunningServer, tmp_path: Path) -> None:
    code = example("await fetch(", server)
    (tmp_path / "call.mjs").write_text(f"{code}\nconsole.log(label, labels.length, probabilities.length);\n")
    assert run("node", "call.mjs", cwd=tmp_path) == f"{LABEL} 2 2\n"
    (tmp_path / "call.mjs").write_text(code.replace("models/toy", "models/other"))
    with pytest.raises(AssertionError, match="Servable not found for request"):
        run("node", "call.mjs", cwd=tmp_path)


def test_go(server: RunningServer, tmp_path: Path) -> None:
    code = example("strings.NewReader", server)
    packages = ("encoding/json", "errors", "fmt", "log", "net/http", "strings", "time")
    imports = "".join(f'\t"{package}"\n' for package in packages)
    program = f"""package main

import (
{imports})

func call() error {{
{code}
    fmt.Println(answer.Predictions[0].Label, len(answer.Predictions[0].Probabilities))
    return nil
}}

func main() {{
    if err := call(); err != nil {{
        log.Fatal(err)
    }}
}}
"""
    (tmp_path / "main.go").write_text(program)
    run("go", "vet", "main.go", cwd=tmp_path)
    assert run("go", "run", "main.go", cwd=tmp_path) == f"{LABEL} 2\n"


def test_grpcurl_gets_the_description_of_the_api_and_a_request_that_is_right(
    server: RunningServer, tmp_path: Path
) -> None:
    """Not by grpcurl: its arguments, read the way it reads them."""
    code = example("grpcurl -plaintext", server)
    heredoc, command = code.split("\ngrpcurl ")
    run("bash", "-c", heredoc.replace("python -", f"{ROOT}/.venv/bin/python -W ignore -"), cwd=tmp_path)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "api.protoset").read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())  # in this order, each finds what it imports
    service, method = command.split()[-1].split("/")
    assert pool.FindServiceByName(service).methods_by_name[method].input_type.name == "PredictRequest"
    body = re.search(r"-d '(.*)'", command, flags=re.DOTALL)
    assert body
    request = json_format.Parse(body[1], predict_pb2.PredictRequest())
    with grpc.insecure_channel(command.split()[-2]) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10)
    assert response.outputs["label"].string_val == [LABEL.encode()]
