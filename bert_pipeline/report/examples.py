"""The most confident mistakes, and the examples on which candidate and baseline disagree."""

from __future__ import annotations

import numpy as np

from bert_pipeline.report import answers as of_answers
from bert_pipeline.report.answers import Answers
from bert_pipeline.report.blocks import Block, Part, Quote, Section, Text, share
from bert_pipeline.report.probabilities import OLDER
from bert_pipeline.report.source import Source

# Of a text that is longer, the beginning: the report is to be read.
_MAX_CHARACTERS = 600


def section(source: Source, answers: Answers | None) -> Section:
    """Quotes of both kinds, as many as the task allows."""
    title = "Mistakes and disagreements"
    if answers is None:
        return Section("examples", title, (OLDER,))
    limit = source.num_examples
    wrong = int((~answers.is_right).sum())
    apart, differ = of_answers.disagreements(answers, limit)
    parts = [
        Part(
            "The most confident mistakes",
            _quotes(
                source,
                answers,
                of_answers.confident_mistakes(answers, limit),
                f"{wrong} of {len(answers.columns)} answers are wrong",
            ),
        )
    ]
    if answers.baseline is not None:
        sentence = f"The two models answer {differ} of {len(answers.columns)} examples differently"
        quotes = _quotes(source, answers, apart, sentence)
        parts.append(Part("Where candidate and baseline disagree", (Text(_balance(answers)), *quotes)))
    return Section("examples", title, (), tuple(parts))


def _quotes(source: Source, answers: Answers, rows: list[int], sentence: str) -> tuple[Block, ...]:
    if not source.num_examples:
        return (Text(f"{sentence}. The task wants none shown (report.examples is 0)."),)
    first = Text(f"{sentence}; shown are {len(rows)}." if rows else f"{sentence}.")
    return (first, *(_quote(source, answers, row) for row in rows))


def _quote(source: Source, answers: Answers, row: int) -> Quote:
    data, labels = source.settings["data"], source.labels
    columns = dict(answers.columns[row])
    texts = tuple((name, _cut(columns.pop(name, ""))) for name in data["text"])
    columns.pop(data["label"], None)
    true = labels[answers.label_ids[row]]
    facts = [("true label", true), ("candidate", _answer(answers.candidate[row], labels))]
    if answers.baseline is not None:
        facts.append(("baseline", _answer(answers.baseline[row], labels)))
    slices = {name for spec in source.settings["evaluation"]["slices"] for name in spec.split("+")}
    facts += [(name, _cut(value)) for name, value in columns.items() if name in slices]
    return Quote(f"{true}, answered {labels[answers.answered[row]]}", texts, tuple(facts))


def _answer(probabilities: np.ndarray, labels: tuple[str, ...]) -> str:
    return f"{labels[int(probabilities.argmax())]}, {share(float(probabilities.max()))}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"


def _balance(answers: Answers) -> str:
    """Who is right where they disagree: what McNemar's test looks at."""
    was_right = answers.baseline_is_right
    won, lost = int((answers.is_right & ~was_right).sum()), int((~answers.is_right & was_right).sum())
    return (
        f"The candidate is right where the baseline was wrong {won} times, and wrong where it was right "
        f"{lost} times."
    )
