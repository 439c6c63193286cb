"""Sends the result of a run or of `monitor` to a webhook or by e-mail; a failure never affects the run.

(apprise sends both too, but without failure reasons, lists in the body, retries, or the rule that passwords are sent
only over TLS; and it would need an extra of eleven packages.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.sections import NoticesConfig, TaskConfig

if TYPE_CHECKING:
    from bert_pipeline.running.summary import RunReport

# Seconds: timeout of each network operation, and waits before the second and the third attempt.
_TIMEOUT = 5.0
_WAITS = (1.0, 4.0)

# A notice has a line or two; the summary and the log have the rest.
_MAX_REASONS, _MAX_REASON_LENGTH = 5, 300

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclasses.dataclass(frozen=True)
class Event:
    """An event of a task."""

    name: str
    """One of `sections.NOTICE_EVENTS`."""

    task: str
    version: str
    """Version in service; empty if none or unknown."""

    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line of text: `toy: refused. accuracy on all data is 0.61 (...) Version 7 is in service.`."""
        parts = [f"{self.task}: {self.name}.", "; ".join(self.reasons)]
        if self.version:
            parts.append(f"Version {self.version} is in service.")
        return " ".join(part for part in parts if part)


class _Problem(Exception):
    """The reason for a failed notice, without secrets; `again`: a retry may succeed."""

    def __init__(self, text: str, *, again: bool = False) -> None:
        super().__init__(text)
        self.again = again


def event(name: str, *, task: str, version: str = "", reasons: tuple[str, ...] = ()) -> Event:
    """Shortens the reasons of an event to fit a chat."""
    lines = [" ".join(line.split()) for reason in reasons for line in reason.splitlines() if line.strip()]
    shown = [
        line if len(line) <= _MAX_REASON_LENGTH else f"{line[: _MAX_REASON_LENGTH - 3]}..."
        for line in lines[:_MAX_REASONS]
    ]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    return Event(name, task, version, tuple(shown))


def of_run(report: RunReport) -> Event:
    """The event of a run that wrote its summary."""
    name = "pushed" if report.pushed else "unchanged" if report.in_service else "refused"
    reasons = report.reasons if name == "refused" else ()
    return event(name, task=report.task, version=report.version, reasons=reasons)


@contextlib.contextmanager
def on_failure(task: TaskConfig) -> Iterator[None]:
    """Sends `failed` if the block raises (but not if interrupted), and re-raises the error."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        send(event("failed", task=task.name, reasons=(reason,)), config=task.notices)
        raise


def send(
    happened: Event,
    *,
    config: NoticesConfig,
    environment: Mapping[str, str] = os.environ,
    say: Callable[[str], None] = print,
    waits: tuple[float, ...] = _WAITS,
) -> None:
    """Sends an event to the task's recipients, if it is one of `notices.on`.

    Prints a failure with the host but never the address, which may be a secret; raises nothing. A receiver that
    answers late may get a notice twice.

    Args:
        happened: the event.
        config: section [notices].
        environment: variables with the addresses.
        say: prints a line.
        waits: seconds before each further attempt.
    """
    if happened.name not in config.on:
        return
    ways: list[tuple[str, str, tuple[str, str], Callable[[SplitResult], None]]] = []
    if config.webhook_env:
        ways.append(("webhook", config.webhook_env, ("http", "https"), lambda url: _post(url, happened)))
    if config.email_to:
        ways.append(("e-mail", config.smtp_env, ("smtp", "smtps"), lambda url: _mail(url, happened, config)))
    for way, variable, schemes, deliver in ways:
        url = _address(environment.get(variable, ""), schemes=schemes)
        if url is None:
            say(
                f"warning   no {way} sent: {variable} is not set to a {schemes[0]}:// or {schemes[1]}:// address"
            )
        elif problem := _attempts(deliver, url, waits=waits):
            say(f"warning   no {way} sent to {url.hostname}: {problem}; the result above stands")


def _address(text: str, *, schemes: tuple[str, ...]) -> SplitResult | None:
    try:
        url = urlsplit(text.strip())
        return url if url.scheme in schemes and url.hostname and url.port != 0 else None
    except ValueError:  # an invalid port, an unclosed bracket
        return None


def _attempts(deliver: Callable[[SplitResult], None], url: SplitResult, *, waits: tuple[float, ...]) -> str:
    """The reason of the failure; empty on success."""
    problem = ""
    for wait in (0.0, *waits):
        time.sleep(wait)
        try:
            deliver(url)
            return ""
        except _Problem as error:
            problem = str(error)
            if not error.again:
                return problem
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = _without_secrets(error)
    return f"{problem} ({len(waits) + 1} attempts)"


def _without_secrets(error: Exception) -> str:
    """Names the kind of an error; shows its text only if it comes from the operating system."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer in {_TIMEOUT:g} s"
    return getattr(reason, "strerror", None) or type(reason).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would turn the POST into a GET without its body."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(url: SplitResult, happened: Event) -> None:
    body = {
        "text": happened.text,
        "event": happened.name,
        "task": happened.task,
        "version": happened.version,
        "reasons": happened.reasons,
    }
    headers = {"Content-Type": "application/json", "User-Agent": "bert_pipeline"}
    request = urllib.request.Request(url.geturl(), data=json.dumps(body).encode(), headers=headers)
    try:
        urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        error.close()
        raise _Problem(f"it answered {error.code}", again=error.code >= 500 or error.code == 429) from None


def _mail(url: SplitResult, happened: Event, config: NoticesConfig) -> None:
    message = EmailMessage()
    message["Subject"] = f"bert_pipeline: {happened.task}: {happened.name}"
    message["From"] = config.email_from or config.email_to[0]
    message["To"] = ", ".join(config.email_to)
    version = f"Version in service: {happened.version}" if happened.version else ""
    message.set_content("\n".join([f"{happened.task}: {happened.name}", *happened.reasons, version]))
    try:
        with _connect(url, url.hostname or "") as server:
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
            refused, others = server.send_message(message), "; the others got it"
    except smtplib.SMTPRecipientsRefused as error:
        refused, others = error.recipients, ""
    except smtplib.SMTPResponseException as error:
        raise _Problem(f"it answered {error.smtp_code}", again=error.smtp_code < 500) from None
    if refused:
        raise _Problem(f"it takes no mail for {', '.join(sorted(refused))}{others}")


def _connect(url: SplitResult, host: str) -> smtplib.SMTP:
    """Encrypts if the server supports it; sends a password unencrypted only to this machine."""
    context = ssl.create_default_context()
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(host, url.port or 465, timeout=_TIMEOUT, context=context)
    server = smtplib.SMTP(host, url.port or 587, timeout=_TIMEOUT)
    try:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
        elif url.username and host not in _LOOPBACK:
            raise _Problem("it offers no STARTTLS, so the password was not sent")
    except BaseException:
        server.close()
        raise
    return server
