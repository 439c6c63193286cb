"""The client's command line: what it prints, for people and for programs, and its exit status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client import Prediction
from serving.client import __main__ as cli
from tests.serving.client.client_stubs import ANSWER, Stub, answer, running
from tests.serving.processes import ROOT, RunningServer


def test_command_line_prints_json_for_programs(server: RunningServer) -> None:
    command = [sys.executable, "-m", "serving.client", "--text", "hi", "--text", '{"text": "hello, world"}']
    command += ["--model=toy", f"--address={server.rest_address}"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [json.loads(line) for line in output.splitlines()] == [
        {"label": "short", "probabilities": {"short": 0.8, "long": 0.2}},
        {"label": "long", "probabilities": {"short": 0.2, "long": 0.8}},
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
    cli._show("They leak.", Prediction("negative", {"positive": 0.1, "negative": 0.9}))
    assert capsys.readouterr().out.splitlines() == [
        "They leak.",
        "  negative   90.0%  ###########################",
        "  positive   10.0%  ###",
    ]


def test_terminal_shows_bars_and_how_far_a_file_is(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hi\n")
    command = [sys.executable, "-m", "serving.client", "--model=toy", f"--address={server.rest_address}"]
    ours, theirs = pty.openpty()
    try:
        for flags in (["--text", "hi"], ["--file", str(tmp_path / "in.txt"), "--out", f"{tmp_path}/out.csv"]):
            subprocess.run([*command, *flags], cwd=ROOT, stdout=theirs, stderr=theirs, check=True)
        shown = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "hi\r\n  short   80.0%  ########################\r\n  long    20.0%  ######\r\n" in shown
    assert "1 rows in " in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give texts with --text, or a file of them with --file"),
        (["--text=hi", "--file=in.csv"], "give texts with --text, or a file of them with --file"),
        (["--text=hi", "--version=1", "--version_label=x"], "both a version and a version label are given"),
        (["--text=hi", "--address=http://x:1"], "give host:port"),
        (["--text=hi", "--retries=-1"], "retries: most is -1"),
        (["--text=hi", "--batch_size=0"], "batch_size is 0"),
        (["--text=hi", "--ca_file=none.pem"], "the TLS files cannot be used"),
        (["--text=hi", "--tls", "--key_file=key.pem"], "no certificate; give its file as well"),
    ],
)
def test_wrong_arguments_end_with_2(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(flags)
    assert message in capsys.readouterr().err


def test_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x\n" * 5000)
    with running(Stub(*[answer(200, ANSWER)] * 5000)) as stub:
        command = [sys.executable, "-m", "serving.client", "--model=m", f"--address={stub.address}"]
        command += ["--file", str(tmp_path / "in.txt"), "--batch_size=1"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout and process.stderr
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read().decode()
        process.stderr.close()
        assert process.wait() == 1
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
