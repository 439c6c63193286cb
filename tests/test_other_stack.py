"""The tests on the other stack: which one it is, where its tree comes from, and that skipping it is loud."""

from __future__ import annotations

from pathlib import Path

import pytest

from bert_pipeline.setup import bootstrap
from tests import other_stack


@pytest.mark.parametrize(("here", "other"), [("1.16", "1.21"), ("1.21", "1.16"), ("", "1.21")])
def test_the_other_stack_is_the_newest_that_is_not_installed(here: str, other: str) -> None:
    assert other_stack.other_stack(here).name == other


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "sources.list",
            "# deb http://old.example/debian stretch main\ndeb [arch=amd64] http://a.example/debian trixie main\n",
        ),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: http://a.example/debian\nSuites: trixie\n"),
        (
            "sources.list.d/both.sources",
            "Types: deb\nURIs: http://a.example/debian-security\n\nTypes: deb\nURIs: http://a.example/debian\n",
        ),
    ],
)
def test_the_mirror_is_the_one_that_apt_uses(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / file).write_text(text)
    assert other_stack.apt_mirror(tmp_path) == "http://a.example/debian"


def test_without_a_mirror_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://a.example/ubuntu noble main\n")
    with pytest.raises(other_stack.NotHereError, match="name no Debian mirror"):
        other_stack.apt_mirror(tmp_path)


def test_a_machine_that_cannot_run_it_says_so_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "what_lacks", lambda stack: "glibc 2.39 or newer")
    monkeypatch.setattr(other_stack.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(other_stack.bootstrap, "read_record", lambda root: {"stack": "1.16"})
    assert other_stack.main() == 0
    frame, line, _ = capsys.readouterr().out.splitlines()
    assert line.startswith("TFX 1.21 WAS NOT TESTED: it needs glibc 2.39 or newer; ")
    assert set(frame) == {"!"}


def test_failing_tests_on_the_other_stack_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def call(command: list[str], **_: object) -> int:
        calls.append(command)
        return 2 if "test" in command else 0

    monkeypatch.setattr(bootstrap, "what_lacks", lambda stack: "")
    monkeypatch.setattr(other_stack.subprocess, "call", call)
    assert other_stack.main() == 2
    assert [command[3] for command in calls if command[0] == "make"] == ["setup", "test"]
