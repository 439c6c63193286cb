"""The models' answers to each evaluated example: calibration, thresholds, mistakes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging.answers import read_lines
from bert_pipeline.judging.scores import NUM_CALIBRATION_BINS
from bert_pipeline.report.page import Block, Figure, Part, Quote, Section, Table, count, number, share
from bert_pipeline.report.plots import SERIES, plot, short
from bert_pipeline.report.source import Source
from bert_pipeline.settings import metric_names

_OLDER = (
    "The answers to the single examples are not recorded: this evaluation was made by an older version of the "
    "pipeline, or stopped. A changed bound, label or slice reruns the evaluation."
)
# Maximum number of labels to plot; with more, those with the lowest recall.
_MAX_LABELS = 6
_THRESHOLDS = np.linspace(0, 1, 101)
_IN_TABLE = range(0, len(_THRESHOLDS), 10)
# Longer texts are cut, to keep the report readable.
_MAX_CHARACTERS = 600

# Label id to precision and recall at each of _THRESHOLDS.
Curves: TypeAlias = Mapping[int, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Answers:
    """Examples and answers, one row each."""

    columns: tuple[dict[str, str], ...]
    """Raw columns by name."""

    label_ids: np.ndarray
    """int [num_examples]."""

    candidate: np.ndarray
    """float [num_examples, num_labels]: probabilities."""

    baseline: np.ndarray | None
    """The same for the model in service; None if there was none."""

    @property
    def answered(self) -> np.ndarray:
        """Int [num_examples]: the candidate's most probable label."""
        return self.candidate.argmax(axis=1)

    @property
    def is_right(self) -> np.ndarray:
        """Bool [num_examples]."""
        return self.answered == self.label_ids

    @property
    def confidence(self) -> np.ndarray:
        """Float [num_examples]: probability of the predicted label."""
        return self.candidate.max(axis=1)


def read_answers(evaluation_dir: Path) -> Answers | None:
    """Reads the Evaluator's answers to each example; None if an older Evaluator wrote none."""
    rows = [row for row in read_lines(str(evaluation_dir)) if row["label_id"] >= 0]
    if not rows:
        return None
    given = [row["probabilities"] for row in rows]
    return Answers(
        columns=tuple(row["columns"] for row in rows),
        label_ids=np.array([row["label_id"] for row in rows]),
        candidate=np.array([probabilities["candidate"] for probabilities in given]),
        baseline=np.array([p["baseline"] for p in given]) if "baseline" in given[0] else None,
    )


@dataclasses.dataclass(frozen=True)
class Bin:
    """Examples whose confidence lies in one interval."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean probability of the predicted label."""
    accuracy: float


def calibration(answers: Answers) -> list[Bin]:
    """The non-empty bins of a reliability diagram (Guo et al. 2017), lowest first.

    Example:
        A bin of 40 answers with a mean confidence of 0.95, of which 30 are correct, is overconfident by 0.2.
    """
    confidence = answers.confidence
    ids = np.minimum((confidence * NUM_CALIBRATION_BINS).astype(int), NUM_CALIBRATION_BINS - 1)
    return [
        Bin(
            low=i / NUM_CALIBRATION_BINS,
            high=(i + 1) / NUM_CALIBRATION_BINS,
            count=int((ids == i).sum()),
            confidence=float(confidence[ids == i].mean()),
            accuracy=float(answers.is_right[ids == i].mean()),
        )
        for i in np.unique(ids)
    ]


def abstaining(answers: Answers, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and accuracy if answers below a confidence threshold go to a person.

    Args:
        answers: of the candidate.
        thresholds: float [n].

    Returns:
        Two float [n]: share of the examples that are answered, and accuracy on those (NaN if none).
    """
    kept = answers.confidence >= thresholds[:, np.newaxis]
    return kept.mean(axis=1), _ratio((kept & answers.is_right).sum(axis=1), kept.sum(axis=1))


def precision_recall(
    answers: Answers, label_id: int, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one label by threshold on its probability.

    Returns:
        Two float [n]; precision is NaN if no probability reaches the threshold, recall if no example has the label.
    """
    chosen = answers.candidate[:, label_id] >= thresholds[:, np.newaxis]
    has = answers.label_ids == label_id
    right = (chosen & has).sum(axis=1)
    return _ratio(right, chosen.sum(axis=1)), _ratio(right, np.full(len(thresholds), has.sum()))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotient; NaN if the denominator is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def confident_mistakes(answers: Answers, limit: int) -> list[int]:
    """Rows of the wrong answers, most confident first."""
    wrong = np.flatnonzero(~answers.is_right)
    return [int(i) for i in wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:limit]]


def disagreements(answers: Answers, limit: int) -> tuple[list[int], int]:
    """Rows on which candidate and baseline disagree, largest difference first, and their number.

    The difference is the larger of the two models' differences in the probability of an answer.
    """
    if answers.baseline is None:
        return [], 0
    differ = np.flatnonzero(answers.answered != answers.baseline.argmax(axis=1))
    apart = np.abs(answers.candidate[differ] - answers.baseline[differ]).max(axis=1)
    return [int(i) for i in differ[np.argsort(-apart, kind="stable")][:limit]], len(differ)


def probabilities(source: Source, slices: Sequence[SliceMetrics], answers: Answers | None) -> Section:
    """Calibration, abstaining, and precision and recall by threshold."""
    title = "Calibration and thresholds"
    if answers is None:
        return Section("probabilities", title, (_OLDER,))
    error = slices[0].metrics.get(metric_names.CALIBRATION_ERROR) if slices else None
    parts = (
        Part("Calibration", (_reliability(answers, error),)),
        Part("Leaving unsure texts to a person", (_abstaining(answers),)),
        Part("Threshold for each label", _thresholds(source.labels, answers)),
    )
    return Section("probabilities", title, (), parts)


def _reliability(answers: Answers, error: float | None) -> Figure:
    bins = calibration(answers)
    confidence, accuracy = [b.confidence for b in bins], [b.accuracy for b in bins]
    with plot(height=330) as (drawn, svg):
        above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], "--", color="black", linewidth=0.8, label="as right as confident")
        above.plot(confidence, accuracy, "o-", color=SERIES[0], label="candidate")
        above.set_ylabel("share right")
        above.legend(loc="upper left")
        edges, width = [b.low for b in bins], 0.9 / NUM_CALIBRATION_BINS
        below.bar(edges, [b.count for b in bins], width=width, align="edge", color=SERIES[0])
        below.set_ylabel("examples")
        below.set_xlabel("confidence (probability of the answer)")
        above.set_xlim(min(0.3, edges[0]), 1.005)
    gap = sum(b.count * (b.confidence - b.accuracy) for b in bins) / len(answers.columns)
    word = "overconfident" if gap > 0 else "underconfident"
    finding = f"Over all answers the model is {word} by {abs(gap):.3f}."
    if error is not None:
        finding += f" The expected calibration error is {number(error)}."
    rows = [
        (f"{b.low:.2f} to {b.high:.2f}", count(b.count), number(b.confidence), number(b.accuracy))
        for b in bins
    ]
    header = ("confidence", "examples", "mean confidence", "share right")
    return Figure(svg.getvalue(), finding, Table("Calibration", header, tuple(rows)))


def _abstaining(answers: Answers) -> Figure:
    kept, right = abstaining(answers, _THRESHOLDS)
    with plot(height=220) as (drawn, svg):
        axes = drawn.subplots()
        axes.plot(_THRESHOLDS, right, "-", color=SERIES[0], label="right, of those answered")
        axes.plot(_THRESHOLDS, kept, "--", color=SERIES[1], label="answered, of all")
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("answered only where the confidence is at least")
        axes.legend(loc="lower left")
    at = int(np.flatnonzero(np.isclose(_THRESHOLDS, 0.9))[0])
    finding = (
        f"If answers with a confidence under 0.9 went to a person, {share(kept[at])} would be answered, "
        f"{share(right[at])} of them right; without a threshold {share(right[0])} are right."
    )
    rows = tuple((f"{_THRESHOLDS[i]:.1f}", share(kept[i]), share(right[i])) for i in _IN_TABLE)
    table = Table("Answers by confidence threshold", ("threshold", "answered", "right"), rows)
    return Figure(svg.getvalue(), finding, table)


def _thresholds(labels: Sequence[str], answers: Answers) -> tuple[Block, ...]:
    shown = _weakest(labels, answers)
    curves: Curves = {i: precision_recall(answers, i, _THRESHOLDS) for i in shown}
    middle = len(_THRESHOLDS) // 2
    parts = [
        f"{labels[i]} precision {number(precision[middle])}, recall {number(recall[middle])}"
        for i, (precision, recall) in curves.items()
    ]
    finding = f"At a threshold of 0.5: {'; '.join(parts)}."
    header = ("threshold", *(f"{kind}, {labels[i]}" for i in curves for kind in ("precision", "recall")))
    rows = [
        (f"{_THRESHOLDS[t]:.1f}", *(number(curve[t]) for pair in curves.values() for curve in pair))
        for t in _IN_TABLE
    ]
    table = Table("Precision and recall by threshold", header, tuple(rows))
    figure = Figure(_draw_thresholds(labels, curves), finding, table)
    if len(shown) == len(labels):
        return (figure,)
    return f"The {len(shown)} labels with the lowest recall, of {len(labels)}.", figure


def _weakest(labels: Sequence[str], answers: Answers) -> list[int]:
    """Label ids: all if few, otherwise those with the lowest recall."""
    if len(labels) <= _MAX_LABELS:
        return list(range(len(labels)))
    recall = {
        i: answers.is_right[answers.label_ids == i].mean() for i in np.unique(answers.label_ids).tolist()
    }
    return sorted(sorted(recall, key=lambda i: recall[i])[:_MAX_LABELS])


def _draw_thresholds(labels: Sequence[str], curves: Curves) -> str:
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    with plot(height=36 + 150 * rows) as (drawn, svg):
        grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, (i, (precision, recall)) in zip(grid.flat, curves.items(), strict=False):
            axes.plot(_THRESHOLDS, precision, "-", color=SERIES[0], label="precision")
            axes.plot(_THRESHOLDS, recall, "--", color=SERIES[1], label="recall")
            axes.set_title(short(labels[i], letters=18), fontsize=11)
            axes.set_ylim(0, 1.03)
        drawn.supxlabel("threshold on the label's probability", fontsize=11)
        drawn.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return svg.getvalue()


def examples(source: Source, answers: Answers | None) -> Section:
    """The most confident mistakes and the disagreements of candidate and baseline, up to the task's limit."""
    title = "Mistakes and disagreements"
    if answers is None:
        return Section("examples", title, (_OLDER,))
    total, limit = len(answers.columns), source.num_examples
    wrong = f"{int((~answers.is_right).sum())} of {total} answers are wrong"
    mistakes = _quotes(source, answers, confident_mistakes(answers, limit), wrong)
    parts = [Part("The most confident mistakes", mistakes)]
    if answers.baseline is not None:
        rows, differ = disagreements(answers, limit)
        # Which model is correct on disagreements, as in McNemar's test.
        is_right, was_right = answers.is_right, answers.baseline.argmax(axis=1) == answers.label_ids
        balance = (
            f"The candidate is right where the baseline was wrong {(is_right & ~was_right).sum()} times, and wrong "
            f"where it was right {(~is_right & was_right).sum()} times."
        )
        sentence = f"The two models answer {differ} of {total} examples differently"
        quotes = _quotes(source, answers, rows, sentence)
        parts.append(Part("Where candidate and baseline disagree", (balance, *quotes)))
    return Section("examples", title, (), tuple(parts))


def _quotes(source: Source, answers: Answers, rows: list[int], sentence: str) -> tuple[Block, ...]:
    if not source.num_examples:
        return (f"{sentence}. The task wants none shown (report.examples is 0).",)
    first = f"{sentence}; shown are {len(rows)}." if rows else f"{sentence}."
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


def _answer(given: np.ndarray, labels: tuple[str, ...]) -> str:
    return f"{labels[int(given.argmax())]}, {share(float(given.max()))}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
