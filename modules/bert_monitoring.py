"""Sections [monitoring], [notices] and [report] of a task file: how a model is watched, and how people learn of it.

Part of `bert_task.py`, from which everybody imports it; standard library only, as there.
"""

from __future__ import annotations

import dataclasses

# What can be told: how a run ended, and the verdicts of `monitor`.
NOTICE_EVENTS = ("pushed", "unchanged", "refused", "failed", "fine", "watch", "retrain")


@dataclasses.dataclass(frozen=True)
class WeakLabelConfig:
    """One of [[monitoring.weak_labels]]: a rule that guesses a label, for texts whose label nobody knows."""

    pattern: str
    """Regular expression of Python's `re`, looked for anywhere in the text, whatever the case."""

    label: str
    """One of `data.labels`."""


@dataclasses.dataclass(frozen=True)
class MonitoringConfig:
    """Section [monitoring]. Limits of drift are in [validation] (`skew_note`, `skew_stop`)."""

    metric: str = "accuracy"
    """What is compared with the evaluation at the push: accuracy, macro_f1, or recall/<label>."""

    watch_drop: float = 0.03
    """Drop (absolute) from which the model is worth a look, overall or on a slice, where chance does not explain it."""

    retrain_drop: float = 0.08
    """Drop (absolute) from which it should be trained again: a drop that chance does not explain, and that may be as
    large as this (by its one-sided interval at `confidence`)."""

    confidence: float = 0.95
    """One-sided: a verdict on traffic in which nothing changed is not fine in at most 1 - confidence of the cases, over
    all slices, the drift notes, and every look at the same version."""

    min_examples: int = 30
    """Slices of fewer labelled texts, now or in the evaluation at the push, are not judged, nor are all data where
    fewer texts have a label now."""

    min_agreement: float = 0.0
    """Share of weak labels that the model must agree with; surely under it, the verdict is at least watch. 0: not
    judged."""

    weak_labels: tuple[WeakLabelConfig, ...] = ()
    """Rules; the first that fits a text counts."""


@dataclasses.dataclass(frozen=True)
class NoticesConfig:
    """Section [notices]. Addresses are secrets: here stand the names of the environment variables that hold them."""

    on: tuple[str, ...] = ("refused", "failed", "watch", "retrain")
    """Which events are told: of `NOTICE_EVENTS`."""

    webhook_env: str = ""
    """Environment variable with an http(s) address that takes a POST of JSON, such as a Slack webhook; empty: none."""

    email_to: tuple[str, ...] = ()
    """E-mail addresses; empty: no e-mail."""

    email_from: str = ""
    """Sender's address; empty: the first of `email_to`."""

    smtp_env: str = ""
    """Environment variable with smtp://user:password@host:587 or smtps://host:465; percent signs as in any URL."""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Section [report]: the page and the model card that each run writes."""

    examples: int = 20
    """At most so many mistakes, and so many disagreements with the model in service, are shown with their text; 0:
    none, for texts that must not be copied."""

    intended_use: str = ""
    """What the model is for and what it is not for, in a sentence or two; stands in the model card."""

    data_license: str = ""
    """Terms of the data; stands in the model card."""
