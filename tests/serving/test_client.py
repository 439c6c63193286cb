"""The client against real servers: alike over REST and gRPC, files, and what it says when something is wrong."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving import client_cli
from serving.client import Client, ClientError, Prediction, Retries
from tests.serving.processes import ROOT, RunningServer

PROTOCOLS = ("rest", "grpc")
# By the toy model: longer than five bytes or not.
SHORT = {"short": 0.8, "long": 0.2}
LONG = {"short": 0.2, "long": 0.8}


def connect(server: RunningServer, protocol: str, *, model: str = "toy", **options: object) -> Client:
    address = server.grpc_address if protocol == "grpc" else server.rest_address
    return Client(address, model=model, protocol=protocol, **options)  # type: ignore[arg-type]  # any option


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_labels_and_probabilities_come_from_the_model(server: RunningServer, protocol: str) -> None:
    with connect(server, protocol) as client:
        short, long = client.classify(["hi", {"text": "hello, world"}])
        assert (short.label, long.label) == ("short", "long")
        assert short.probabilities == pytest.approx(SHORT)
        assert long.probabilities == pytest.approx(LONG)
        assert client.classify("hi") == [short]
        assert client.classify([]) == []


def test_version_that_answered_is_told(server: RunningServer) -> None:
    with connect(server, "grpc") as client:
        assert client.classify("hi")[0].version == 1
    with connect(server, "rest", version=1) as client:
        assert client.classify("hi")[0].version == 1
    with connect(server, "rest") as client:
        assert client.classify("hi")[0].version is None  # REST does not tell


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_texts_go_in_batches_and_come_back_in_order(server: RunningServer, protocol: str) -> None:
    texts = ["x" * (1 + number % 10) for number in range(100)]
    with connect(server, protocol, batch_size=7, num_connections=3) as client:
        labels = [prediction.label for prediction in client.stream(iter(texts))]
    assert labels == ["long" if len(text) > 5 else "short" for text in texts]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "other"}, r"Servable not found for request: Latest\(other\)"),
        ({"version": 7}, r"Servable not found for request: Specific\(toy, 7\)"),
        ({"version_label": "canary"}, "Unrecognized servable version label: canary"),
        ({"signature_name": "nope"}, "the model toy has no signature nope; it has: "),
        ({"signature_name": "arithmetic"}, "give each text as"),
    ],
)
def test_errors_name_what_is_wrong(
    server: RunningServer, protocol: str, options: dict[str, object], message: str
) -> None:
    with connect(server, protocol, **options) as client, pytest.raises(ClientError, match=message):
        client.classify("hi")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_columns_show_the_right_ones(server: RunningServer, protocol: str) -> None:
    with (
        connect(server, protocol) as client,
        pytest.raises(ClientError, match=r'takes the columns text; give each text as \{"text": "\.\.\."\}'),
    ):
        client.classify([{"title": "hi"}])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_server_is_told_with_the_number_of_tries(protocol: str) -> None:
    retries = Retries(2, first_seconds=0.01)
    with (
        Client("127.0.0.1:1", model="toy", protocol=protocol, retries=retries) as client,
        pytest.raises(ClientError, match=r"127\.0\.0\.1:1.*\(tried 3 times\)"),
    ):
        client.classify("hi")


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ClientError, match="give one of them"):
        Client("x:1", model="toy", version=1, version_label="stable")
    with pytest.raises(ClientError, match="protocol is 'http'; give one of rest, grpc"):
        Client("x:1", model="toy", protocol="http")


def test_command_line_prints_json_for_programs(server: RunningServer) -> None:
    command = [sys.executable, "-m", "serving.client", "--text", "hi", "--text", '{"text": "hello, world"}']
    command += ["--model=toy", f"--address={server.rest_address}"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [json.loads(line) for line in output.splitlines()] == [
        {"label": "short", "probabilities": SHORT},
        {"label": "long", "probabilities": LONG},
    ]
    failed = subprocess.run(
        [*command, "--model=other"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "Servable not found for request: Latest(other)" in failed.stderr


def test_command_line_prints_bars_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    client_cli._show("They leak.", Prediction("negative", {"positive": 0.1, "negative": 0.9}))
    assert capsys.readouterr().out.splitlines() == [
        "They leak.",
        "  negative   90.0%  ###########################",
        "  positive   10.0%  ###",
    ]


def test_rest_needs_no_tensorflow(server: RunningServer) -> None:
    code = (
        "import sys; from serving.client import Client; "
        f"Client('{server.rest_address}', model='toy').classify('hi'); "
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'grpc', 'numpy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def run(server: RunningServer, *flags: str) -> int:
    return client_cli.main(["--model=toy", f"--address={server.rest_address}", *flags])


def test_csv_keeps_its_columns_and_gains_the_answers(server: RunningServer, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id,text\n1,hi\n2,"hello,\nworld"\n', encoding="utf-8-sig")
    assert run(server, "--file", str(source), "--out", str(out)) == 0
    with open(out, newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {
                "id": "1",
                "text": "hi",
                "predicted_label": "short",
                "probability_short": "0.8",
                "probability_long": "0.2",
            },
            {
                "id": "2",
                "text": "hello,\nworld",
                "predicted_label": "long",
                "probability_short": "0.2",
                "probability_long": "0.8",
            },
        ]


def test_lines_and_json_lines_go_to_standard_output(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("hi\n\n")
    (tmp_path / "in.jsonl").write_text('{"text": "hello, world", "id": 7}\n')
    assert run(server, "--file", str(tmp_path / "in.txt")) == 0
    assert run(server, "--file", str(tmp_path / "in.jsonl")) == 0
    captured = capsys.readouterr()
    first, second = map(json.loads, captured.out.splitlines())
    assert (first["text"], first["predicted_label"]) == ("hi", "short")
    assert (second["id"], second["probability_long"]) == (7, 0.8)
    assert captured.err.startswith("1 rows in ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"id,title\n1,hi\n", "in.csv, row 1: no text in the column text; the row has: id, title"),
        ("in.csv", b'id,text\n1,"hi\n', "in.csv cannot be read as .csv in UTF-8: "),
        ("in.txt", b"fine\nbad \xff\n", "in.txt cannot be read as .txt in UTF-8: "),
        ("in.jsonl", b'{"text": 3}\n', "in.jsonl, row 1: no text in the column text; the row has: text"),
        ("in.jsonl", b"[1]\n", "in.jsonl, row 1: no text in the column text"),
        ("in.xlsx", b"", "a file is .csv, .jsonl or .txt"),
    ],
)
def test_file_that_does_not_fit_is_told_and_leaves_no_output(
    server: RunningServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    message: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out.csv"
    assert run(server, "--file", str(tmp_path / name), "--out", str(out)) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
