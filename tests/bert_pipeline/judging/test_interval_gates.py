"""Gates that see chance, costs and other slices, on a real evaluation through TFX's Evaluator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bert_task import DataConfig

from bert_pipeline.judging import gates
from bert_pipeline.judging.answers import Answers, read_answers
from bert_pipeline.settings.sections import EvaluationConfig, GateConfig, TaskConfig
from tests.bert_pipeline.lookup_model import Outcome, evaluate_model, save_lookup_model, write_examples

LABELS = ("negative", "neutral", "positive")
COSTS = {"negative": {"positive": 10.0}}
# Examples of each label in each category; "slippers" has 3 in all, "clogs" a single one.
COUNTS = {"boots": 30, "running": 30, "sandals": 20, "slippers": 1}

ROWS = [
    (f"{category} {label} {i}", label, category)
    for category, count in COUNTS.items()
    for label in LABELS
    for i in range(count)
] + [("clogs neutral 0", "neutral", "clogs")]
TRUTH = {text: label for text, label, _ in ROWS}
NUM_EXAMPLES = 244


def _some(category: str, label: str, answer: str, numbers: range) -> dict[str, str]:
    return {f"{category} {label} {i}": answer for i in numbers}


# 36 wrong answers: 208 of 244 are right, 0.852.
BASE = (
    TRUTH
    | _some("boots", "neutral", "positive", range(18))
    | _some("running", "neutral", "negative", range(12))
    | _some("sandals", "positive", "neutral", range(6))
)
# 19 of them right; of the right answers, 16 complaints are now taken for praise, and one praise for nothing.
CANDIDATE = (
    BASE
    | _some("boots", "neutral", "neutral", range(18))
    | _some("running", "neutral", "neutral", range(1))
    | _some("sandals", "negative", "positive", range(15))
    | _some("slippers", "negative", "positive", range(1))
    | _some("running", "positive", "neutral", range(1))
)
GATES = (
    GateConfig("accuracy", max_drop=0.0),  # kept: without the gates below the model is blessed
    GateConfig("accuracy", min=0.75, min_gain=0.005, confidence=0.95),
    GateConfig("recall/positive", max_drop=0.005),
    GateConfig("expected_cost", max_rise=0.1),
)


def _evaluate(root: Path) -> Outcome:
    """The candidate beside the model in service, through the Evaluator."""
    data = DataConfig(path=".", text=("text",), label="label", labels=LABELS, files={"all": "x.csv"})
    evaluation = EvaluationConfig(slices=("category",), gates=GATES, costs=COSTS, cost_unit="EUR")
    return evaluate_model(
        TaskConfig(name="gates", description="", data=data, evaluation=evaluation),
        save_lookup_model(root / "candidate", CANDIDATE, labels=LABELS),
        examples=write_examples(root / "examples", ROWS),
        out=root / "out",
        baseline=save_lookup_model(root / "base", BASE, labels=LABELS),
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return _evaluate(tmp_path_factory.mktemp("intervals"))


@pytest.fixture(scope="module")
def answers(outcome: Outcome) -> Answers:
    return read_answers(outcome.uri, labels=LABELS, columns=["category"])


def judge(answers: Answers, *named: GateConfig) -> gates.Verdict:
    return gates.judge(answers, terms=gates.Terms(LABELS, COSTS, named, slices=("category",)))


def test_a_noise_sized_win_does_not_bless_and_a_noise_sized_loss_does_not_refuse(outcome: Outcome) -> None:
    report = outcome.report

    assert report.overall.metrics["accuracy"] == pytest.approx(210 / NUM_EXAMPLES)
    assert report.overall.baseline["accuracy"] == pytest.approx(208 / NUM_EXAMPLES)
    assert not outcome.blessed_file and not report.blessed
    assert len(report.refusals) == 2
    # 2 of 244 better, of 36 on which the two models differ: 0.0082 +- 0.04, one-sided at 95 %.
    assert report.refusals[0] == (
        "accuracy on all data is 0.86, 0.01 above the baseline's 0.85 [-0.03 to +0.05] "
        "(wanted: surely 0.005 above, 95 %)"
    )
    (note,) = report.notes
    assert note == (
        "within noise, not refused: recall/positive on all data is 0.91, 0.01 below the baseline's 0.93 "
        "(allowed 0.005; p 1.0)"
    )
    written = json.loads((Path(outcome.uri) / "verdict.json").read_text())
    assert written["refusals"] == list(report.refusals)
    assert any(
        line.startswith("accuracy on all data 0.86 against 0.85; a drop of 0.0") for line in report.held
    )


def test_a_costly_confusion_is_refused_although_accuracy_rose(outcome: Outcome) -> None:
    overall = outcome.report.overall

    # 18 errors at 1 and 16 at 10; before, 36 at 1.
    assert overall.metrics["expected_cost"] == pytest.approx(178 / NUM_EXAMPLES)
    assert overall.baseline["expected_cost"] == pytest.approx(36 / NUM_EXAMPLES)
    assert outcome.report.refusals[1].startswith(
        "expected_cost on all data is 0.73, 0.58 above the baseline's 0.15 (allowed 0.10; p "
    )


def test_the_difference_from_the_baseline_is_surer_than_either_model(outcome: Outcome) -> None:
    row = next(row for row in outcome.report.slices if row.slice == "category=running")

    # 12 errors of 90, of which 11 are the baseline's too: Wilson's, and Bonett's and Price's of 1 gained, 1 lost.
    assert row.intervals["accuracy"].half_width == pytest.approx(0.0698, abs=1e-3)
    assert row.changes["accuracy"].half_width == pytest.approx(1.96 * (4 / 92 / 92) ** 0.5, abs=1e-3)
    assert row.changes["accuracy"].value == pytest.approx(0.0)


def test_the_answers_are_those_that_tfma_counted(outcome: Outcome, answers: Answers) -> None:
    """Every metric of every slice, from TFMA's combiners and from the answers."""
    judge = gates.Judge(answers, terms=gates.Terms(LABELS, COSTS, (), slices=("category",)))
    mine = judge.intervals()
    rows = [outcome.report.overall, *outcome.report.slices]
    assert sorted(mine) == sorted(row.slice for row in rows)
    for row in rows:
        values = {name: known.value for name, known in mine[row.slice]["metrics"].items()}
        assert {name: row.metrics[name] for name in values} == pytest.approx(values, nan_ok=True, abs=1e-6)


def test_a_slice_behind_the_rest_is_refused_and_a_tiny_one_is_not(answers: Answers) -> None:
    verdict = judge(answers, GateConfig("recall/negative", slice="category", max_gap=0.2))

    # Sandals 5 of 20, all others 60 of 61; slippers 0 of 1, beside 65 of 80 by chance in 1 of 10.
    assert verdict.refusals == (
        "recall/negative on category=sandals (60 examples) is 0.25, 0.73 behind the rest's 0.98 "
        "(allowed 0.20; p under 0.0001)",
    )
    noise = next(note for note in verdict.notes if note.startswith("within noise"))
    assert "recall/negative on category=slippers (3 examples) is 0.00, 0.81 behind the rest's 0.81" in noise
    assert verdict.behind[0].startswith("recall/negative on category=slippers")


def test_a_verdict_is_the_same_each_time(outcome: Outcome, tmp_path: Path) -> None:
    again = _evaluate(tmp_path)
    for part in ("refusals", "notes", "behind", "held"):
        assert getattr(again.report, part) == getattr(outcome.report, part)
    assert again.report.overall == outcome.report.overall
