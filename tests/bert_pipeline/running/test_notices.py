"""Notices: a real local HTTP server and a real local SMTP server get them, and nothing that goes wrong stops a run."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from bert_pipeline.running import notices, run
from bert_pipeline.settings.config import parse_task
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.sections import NoticesConfig
from tests.bert_pipeline.notice_servers import hook, mailbox

REFUSED = notices.event(
    "refused", task="toy", version="7", reasons=("accuracy on all data is 0.61 (min 0.80)",)
)


HOOK = NoticesConfig(webhook_env="HOOK")
MAIL = NoticesConfig(email_to=("ann@example.org", "bob@example.org"), smtp_env="MAIL")


BASE = {
    "name": "toy",
    "description": "a toy",
    "data": {
        "path": "data/toy",
        "text": ["text"],
        "label": "label",
        "labels": ["bad", "good"],
        "files": {"train": "train.csv", "eval": "eval.csv"},
    },
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def sent(event: notices.Event, config: NoticesConfig, **environment: str) -> list[str]:
    """The warnings of one notice, without waits."""
    said: list[str] = []
    notices.send(event, config=config, environment=environment, say=said.append, waits=(0.0, 0.0))
    return said


def test_a_webhook_gets_a_text_that_slack_understands_and_the_parts() -> None:
    with hook(200) as (url, got):
        assert sent(REFUSED, HOOK, HOOK=url) == []
    assert got == [
        {
            "text": "toy: refused. accuracy on all data is 0.61 (min 0.80) Version 7 is in service.",
            "event": "refused",
            "task": "toy",
            "version": "7",
            "reasons": ["accuracy on all data is 0.61 (min 0.80)"],
        }
    ]


def test_an_event_that_nobody_asked_for_is_not_sent() -> None:
    with hook(200) as (url, got):
        assert sent(notices.event("pushed", task="toy"), HOOK, HOOK=url) == []
        assert got == []


def test_a_server_in_trouble_is_asked_again() -> None:
    with hook(503, 429, 200) as (url, got):
        assert sent(REFUSED, HOOK, HOOK=url) == []
    assert len(got) == 3


@pytest.mark.parametrize(
    ("status", "attempts", "problem"),
    [(404, 1, "it answered 404"), (302, 1, "it answered 302"), (500, 3, "it answered 500 (3 attempts)")],
)
def test_what_is_not_taken_is_a_warning_that_keeps_the_secret(
    status: int, attempts: int, problem: str
) -> None:
    with hook(status) as (url, got):
        said = sent(REFUSED, HOOK, HOOK=url)
    assert said == [f"warning   no webhook sent to 127.0.0.1: {problem}; the result above stands"]
    assert len(got) == attempts


def test_a_server_that_is_not_there_is_a_warning() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/s3cret"
        assert sent(REFUSED, HOOK, HOOK=url) == [
            "warning   no webhook sent to 127.0.0.1: Connection refused (3 attempts); the result above stands"
        ]


def test_a_server_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert sent(REFUSED, HOOK, HOOK=url) == [
            "warning   no webhook sent to 127.0.0.1: no answer in 0.1 s (3 attempts); the result above stands"
        ]


@pytest.mark.parametrize("value", ["", "s3cret", "file:///etc/passwd", "http://h:s3cret/", "http://[s3cret"])
def test_a_variable_that_holds_no_address_is_a_warning_without_its_value(value: str) -> None:
    assert sent(REFUSED, HOOK, HOOK=value) == [
        "warning   no webhook sent: HOOK is not set to a http:// or https:// address"
    ]


def test_an_email_reaches_everybody_with_what_was_wrong() -> None:
    with mailbox() as (port, lines):
        assert sent(REFUSED, MAIL, MAIL=f"smtp://user:pass@127.0.0.1:{port}") == []
    assert "AUTH PLAIN AHVzZXIAcGFzcw==" in lines  # \0user\0pass
    assert [line.lower() for line in lines if line.lower().startswith("rcpt")] == [
        "rcpt to:<ann@example.org>",
        "rcpt to:<bob@example.org>",
    ]
    assert "Subject: bert_pipeline: toy: refused" in lines
    assert "From: ann@example.org" in lines
    assert "accuracy on all data is 0.61 (min 0.80)" in lines


def test_a_recipient_who_is_refused_is_named_and_the_other_gets_the_mail() -> None:
    def only_ann(line: str) -> str:
        return "250 ok" if "ann" in line else "550 no such user"

    with mailbox(rcpt=only_ann) as (port, lines):
        said = sent(REFUSED, MAIL, MAIL=f"smtp://127.0.0.1:{port}")
    assert said == [
        "warning   no e-mail sent to 127.0.0.1: it takes no mail for bob@example.org; the others got it; "
        "the result above stands"
    ]
    assert lines.count(".") == 1


def test_a_password_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_LOOPBACK", ())  # as if 127.0.0.1 were another machine
    with mailbox() as (port, lines):
        said = sent(REFUSED, MAIL, MAIL=f"smtp://user:pass@127.0.0.1:{port}")
    assert said == [
        "warning   no e-mail sent to 127.0.0.1: it offers no STARTTLS, so the password was not sent; "
        "the result above stands"
    ]
    assert not any(line.startswith("AUTH") for line in lines)


def test_reasons_are_cut_to_the_size_of_a_chat() -> None:
    event = notices.event("failed", task="toy", reasons=("x" * 400, "a\n  b\nc\nd\ne\nf"))
    assert event.reasons == ("x" * 297 + "...", "a", "b", "c", "d", "and 2 more")


def test_a_failure_is_told_and_goes_on_an_interruption_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    task = parse_task({**BASE, "notices": {"webhook_env": "HOOK"}}, source="toy.toml")
    with hook(200) as (url, got):
        monkeypatch.setenv("HOOK", url)
        with pytest.raises(UserError, match="no rows"), notices.on_failure(task):
            raise UserError("train.csv has no rows")
        with pytest.raises(KeyboardInterrupt), notices.on_failure(task):
            raise KeyboardInterrupt
    assert [each["text"] for each in got] == ["toy: failed. train.csv has no rows"]


@pytest.mark.slow  # loads TFX
def test_a_run_that_fails_says_so_and_still_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Path(__file__).parents[3] / "bert_pipeline/tasks/toy.toml"
    (tmp_path / "metadata.sqlite").write_text("no database")
    settings = ('notices.webhook_env="HOOK"',)
    request = run.Request(
        task=str(task), data="", span=None, window=None, overrides=settings, out=tmp_path,
        metadata=str(tmp_path / "metadata.sqlite"), server="process", verbose=False,
    )  # fmt: skip
    with hook(200) as (url, got), pytest.raises(UserError):
        monkeypatch.setenv("HOOK", url)
        run.run(request)
    assert [(each["event"], each["task"]) for each in got] == [("failed", "toy")]
    assert "metadata.sqlite" in got[0]["text"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"on": ["drifted"]},
            "notices.on[0] is 'drifted'; it must be 'pushed', 'unchanged', 'refused', 'failed',",
        ),
        (
            {"webhook_env": "https://h/s3cret"},
            "notices.webhook_env must be the name of an environment variable",
        ),
        ({"email_to": ["ann"], "smtp_env": "MAIL"}, "notices.email_to has 'ann'; it must be of the form"),
        ({"email_to": ["ann@example.org"]}, "notices.smtp_env is empty"),
        ({"email_to": ["a@b\nBcc: c@d"], "smtp_env": "MAIL"}, "it must be of the form name@host"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_run(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_task({**BASE, "notices": section}, source="toy.toml")
    assert message in str(error.value)
    assert "s3cret" not in str(error.value)
