"""Ids of requests: a client's own, one for each row of a file, or one that the server makes."""

from __future__ import annotations

import re
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.client import __main__ as cli
from serving.model_server.observe import logged_examples
from tests.serving.processes import RunningServer
from tests.serving.request_logs import read


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("order-17", "order-17"),
        ("x" * 7000, "x" * 7000),
        ("x" * 7001, None),
        ("two words", None),
        ("", None),
    ],
)
def test_id_of_the_client_is_taken_where_it_is_usable(
    server: RunningServer, given: str, told: str | None
) -> None:
    url = f"http://{server.rest_address}/v1/models/toy"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Request-Id": given})) as response:
        answered = response.headers["x-request-id"]
    assert answered == told if told else re.fullmatch(r"[0-9a-f]{32}", answered)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_client_names_the_rows_of_a_file_for_the_log(
    start_server: Callable[..., RunningServer], toy_path: Path, tmp_path: Path, protocol: str
) -> None:
    prefix = tmp_path / "log" / "requests"
    server = start_server(
        "--model_name=toy", f"--model_base_path={toy_path.parent}", f"--request_log_prefix={prefix}"
    )
    rows = [f"order-{number},text {number}" for number in range(70)]
    (tmp_path / "in.csv").write_text("\n".join(["order,text", *rows]) + "\n")
    address = server.rest_address if protocol == "rest" else server.grpc_address
    flags = ["--model=toy", f"--address={address}", f"--protocol={protocol}", "--id_column=order"]
    assert cli.main([*flags, f"--file={tmp_path / 'in.csv'}", f"--out={tmp_path / 'out.csv'}"]) == 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    logs = read(tmp_path / "log")
    examples = [example for log in logs for example in logged_examples.to_examples(log)]
    ids = {
        example.features.feature["text"].bytes_list.value[0]: example.features.feature[
            "request_id"
        ].bytes_list.value[0]
        for example in examples
    }
    assert ids == {b"text %d" % number: b"order-%d" % number for number in range(70)}
    assert len(logs) == 3  # calls of 32 rows


def test_client_refuses_an_id_that_a_header_cannot_hold(
    server: RunningServer, tmp_path: Path, capsys
) -> None:
    (tmp_path / "in.csv").write_text('id,text\n"a,b",hi\n')
    flags = [
        "--model=toy",
        f"--address={server.rest_address}",
        "--id_column=id",
        f"--file={tmp_path / 'in.csv'}",
    ]
    assert cli.main(flags) == 1
    assert "the id 'a,b' is not printable ASCII without commas and spaces" in capsys.readouterr().err
