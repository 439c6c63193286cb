"""What the models answered to each evaluated example, and what follows: calibration, thresholds, mistakes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from bert_pipeline.judging.answers import read_lines
from bert_pipeline.judging.scores import NUM_CALIBRATION_BINS


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
    """The same of the model that was in service; None: there was none."""

    @property
    def answered(self) -> np.ndarray:
        """Int [num_examples]: the candidate's likeliest label."""
        return self.candidate.argmax(axis=1)

    @property
    def is_right(self) -> np.ndarray:
        """Bool [num_examples]."""
        return self.answered == self.label_ids

    @property
    def baseline_is_right(self) -> np.ndarray:
        """Bool [num_examples]; never, where there is no baseline."""
        if self.baseline is None:
            return np.zeros(len(self.label_ids), dtype=bool)
        return self.baseline.argmax(axis=1) == self.label_ids

    @property
    def confidence(self) -> np.ndarray:
        """Float [num_examples]: probability of the likeliest label."""
        return self.candidate.max(axis=1)


def read_answers(evaluation_dir: Path) -> Answers | None:
    """Reads what the Evaluator wrote of each example; None: it wrote nothing, because it is older than that."""
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
    """Mean probability of the answer."""
    accuracy: float


def calibration(answers: Answers) -> list[Bin]:
    """The bins of a reliability diagram that hold examples (Guo et al. 2017), the lowest first.

    Example:
        A bin of 40 answers with a mean confidence of 0.95 of which 30 are right is overconfident by 0.2.
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
    """What is left, and how much of it is right, if less confident answers went to a person.

    Args:
        answers: of the candidate.
        thresholds: float [n].

    Returns:
        Two float [n]: share of the examples that are answered, accuracy on those (NaN where there are none).
    """
    kept = answers.confidence[np.newaxis, :] >= thresholds[:, np.newaxis]
    number = kept.sum(axis=1)
    right = (kept & answers.is_right[np.newaxis, :]).sum(axis=1)
    return number / kept.shape[1], np.where(number > 0, right / np.maximum(number, 1), np.nan)


def precision_recall(
    answers: Answers, label_id: int, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of "has this label" where its probability is at least a threshold.

    Returns:
        Two float [n]; precision is NaN where nothing reaches the threshold, recall where no example has the label.
    """
    chosen = answers.candidate[np.newaxis, :, label_id] >= thresholds[:, np.newaxis]
    has = answers.label_ids == label_id
    right = (chosen & has[np.newaxis, :]).sum(axis=1)
    number = chosen.sum(axis=1)
    precision = np.where(number > 0, right / np.maximum(number, 1), np.nan)
    return precision, (right / has.sum() if has.any() else np.full(len(thresholds), np.nan))


def confident_mistakes(answers: Answers, limit: int) -> list[int]:
    """Rows of the wrong answers, the most confident first."""
    wrong = np.flatnonzero(~answers.is_right)
    return [int(i) for i in wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:limit]]


def disagreements(answers: Answers, limit: int) -> tuple[list[int], int]:
    """Rows on which candidate and baseline answer differently, the widest apart first; and how many there are.

    Apart: the larger of the two models' differences in the probability of an answer.
    """
    if answers.baseline is None:
        return [], 0
    differ = np.flatnonzero(answers.answered != answers.baseline.argmax(axis=1))
    apart = np.abs(answers.candidate[differ] - answers.baseline[differ]).max(axis=1)
    return [int(i) for i in differ[np.argsort(-apart, kind="stable")][:limit]], len(differ)


def confusion(label_ids: np.ndarray, answered: np.ndarray, num_labels: int) -> np.ndarray:
    """Int [num_labels, num_labels]: examples by true (row) and answered label (column)."""
    counts = np.zeros([num_labels, num_labels], dtype=int)
    np.add.at(counts, (label_ids, answered), 1)
    return counts
