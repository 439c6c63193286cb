"""Weak labels: what a task's rules say of logged texts."""

from __future__ import annotations

from bert_pipeline.monitoring import weak_labels
from bert_pipeline.settings.sections import WeakLabelConfig
from tests.bert_pipeline.logged_texts import logged


def test_rules_speak_of_the_texts_they_fit_only() -> None:
    rules = (WeakLabelConfig("broke|leak", "bad"), WeakLabelConfig("love", "good"))
    texts = [
        logged("1", text=b"They BROKE", label="bad"),
        logged("2", text=b"it leaks, love it", label="good"),
        logged("3", text=b"love", label="good"),
        logged("4", text=b"size 42?", label="good"),
    ]
    agreement = weak_labels.with_rules(texts, rules, columns=("text",))
    assert agreement.sentence == "agrees with the task's 2 rules on 2 of 3 texts (66.7%)"
