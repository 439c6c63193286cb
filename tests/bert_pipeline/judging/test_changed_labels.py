"""data.labels changes under a model in service: its answers are compared by the names of its labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from bert_task import DataConfig

from bert_pipeline.evaluation import slices
from bert_pipeline.judging.gates import read_verdict
from bert_pipeline.settings.sections import EvaluationConfig, GateConfig, TaskConfig
from tests.bert_pipeline.lookup_model import Outcome, evaluate_model, save_lookup_model, write_examples

TEXTS = [(f"text {i}", ("neg", "pos")[i % 2], "boots") for i in range(20)]
ANSWERS = {text: label for text, label, _ in TEXTS} | {"text 0": "pos", "text 2": "pos"}


def task_with(gate: GateConfig, *, labels: tuple[str, ...]) -> TaskConfig:
    data = DataConfig(path=".", text=("text",), label="label", labels=labels, files={"all": "x.csv"})
    evaluation = EvaluationConfig(slices=("category",), gates=(gate,), intervals="none")
    return TaskConfig(name="labels", description="", data=data, evaluation=evaluation)


def evaluated(
    tmp_path: Path, *, labels: tuple[str, ...], before: tuple[str, ...], gate: GateConfig, worse: int = 0
) -> Outcome:
    """The Evaluator on two models that answer alike but for `worse` texts, with labels of their own."""
    answers = dict(ANSWERS)
    for i in range(4, 4 + 2 * worse, 2):
        answers[f"text {i}"] = "pos"
    return evaluate_model(
        task_with(gate, labels=labels),
        save_lookup_model(tmp_path / "candidate", answers, labels=labels),
        examples=write_examples(tmp_path / "examples", TEXTS),
        out=tmp_path / "out",
        baseline=save_lookup_model(tmp_path / "baseline", ANSWERS, labels=before),
    )


@pytest.mark.parametrize(
    ("labels", "before", "note"),
    [
        (("pos", "neg"), ("neg", "pos"), "it has them in another order"),
        (("neg", "pos", "neutral"), ("neg", "pos"), "it does not know neutral"),
        (("neg", "pos"), ("neutral", "neg", "pos"), "the task has no neutral any more"),
    ],
    ids=["another order", "one more", "one less"],
)
def test_answers_are_compared_by_the_names_of_their_labels(
    tmp_path: Path, labels: tuple[str, ...], before: tuple[str, ...], note: str
) -> None:
    gate = GateConfig(metric="recall/neg", max_drop=0.02)
    outcome = evaluated(tmp_path, labels=labels, before=before, gate=gate)
    assert outcome.blessed_file
    [row] = slices.read_slices(outcome.uri, labels=("wrong",))[:1]
    assert row.labels == labels
    assert row.metrics["recall/neg"] == row.baseline["recall/neg"] == 0.8
    assert row.metrics["recall/pos"] == row.baseline["recall/pos"] == 1.0
    assert read_verdict(outcome.uri).notes == (
        f"the baseline's labels are not the task's: {note}; its answers were compared by the labels' names",
    )


@pytest.mark.parametrize("before", [("neg", "pos"), ("pos", "neg")], ids=["same order", "another order"])
def test_a_worse_model_is_refused_whatever_the_order_was(tmp_path: Path, before: tuple[str, ...]) -> None:
    gate = GateConfig(metric="recall/neg", max_drop=0.02)
    outcome = evaluated(tmp_path, labels=("neg", "pos"), before=before, gate=gate, worse=6)
    assert not outcome.blessed_file


def test_an_evaluation_of_one_model_has_no_word_on_labels(tmp_path: Path) -> None:
    outcome = evaluate_model(
        task_with(GateConfig(metric="accuracy", min=0.5), labels=("neg", "pos")),
        save_lookup_model(tmp_path / "candidate", ANSWERS, labels=("neg", "pos")),
        examples=write_examples(tmp_path / "examples", TEXTS),
        out=tmp_path / "out",
    )
    assert read_verdict(outcome.uri).notes == ()
    assert slices.evaluated_labels(outcome.uri) == ("neg", "pos")
