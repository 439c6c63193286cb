"""Gates that see intervals, costs and other slices, on two real evaluations with TFMA's jackknife."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bert_task import DataConfig, EvaluationConfig, GateConfig, TaskConfig

from bert_pipeline import judging
from bert_pipeline.estimates import Estimate
from bert_pipeline.slice_metrics import SliceMetrics, read_slices
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
    GateConfig("accuracy", max_drop=0.0),  # TFMA's, and kept: without the gates below the model is blessed
    GateConfig("accuracy", min=0.75, min_gain=0.005, confidence=0.95),
    GateConfig("recall/positive", max_drop=0.005, confidence=0.95),
    GateConfig("expected_cost", max_rise=0.1, confidence=0.6),
)


def _evaluate(root: Path, intervals: str) -> Outcome:
    """The candidate beside the model in service, through the Evaluator."""
    data = DataConfig(path=".", text=("text",), label="label", labels=LABELS, files={"all": "x.csv"})
    evaluation = EvaluationConfig(
        slices=("category",), gates=GATES, costs=COSTS, cost_unit="EUR", intervals=intervals
    )
    return evaluate_model(
        TaskConfig(name="gates", description="", data=data, evaluation=evaluation),
        save_lookup_model(root / "candidate", CANDIDATE, labels=LABELS),
        examples=write_examples(root / "examples", ROWS),
        out=root / "out",
        baseline=save_lookup_model(root / "base", BASE, labels=LABELS),
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return _evaluate(tmp_path_factory.mktemp("intervals"), "jackknife")


@dataclasses.dataclass
class Judge:
    """Holds gates against the evaluation."""

    slices: list[SliceMetrics]

    def __call__(self, *gates: GateConfig) -> judging.Verdict:
        return judging.judge(self.slices, terms=judging.Terms(LABELS, COSTS, gates))

    def row(self, name: str) -> SliceMetrics:
        return next(row for row in self.slices if row.slice == name)


@pytest.fixture(scope="module")
def judge(outcome: Outcome) -> Judge:
    return Judge(read_slices(outcome.uri, labels=LABELS, costs=COSTS))


def test_a_noise_sized_win_does_not_bless_and_a_noise_sized_loss_does_not_refuse(outcome: Outcome) -> None:
    report = outcome.report

    assert report.overall.metrics["accuracy"] == pytest.approx(210 / NUM_EXAMPLES)
    assert report.overall.baseline["accuracy"] == pytest.approx(208 / NUM_EXAMPLES)
    assert not outcome.blessed_file and not report.blessed
    assert len(report.refusals) == 2
    # 2 of 244 better, of 36 on which the two models differ: 0.0082 +- 0.05.
    assert report.refusals[0].startswith("accuracy on all data is 0.86, +0.008 [-0.0")
    assert report.refusals[0].endswith(" at 95 %] from the baseline's 0.85 (wanted: surely +0.005)")
    (note,) = report.notes
    assert note.startswith("within noise, not refused: recall/positive on all data is 0.91, -0.012 [-0.0")
    assert note.endswith(" at 95 %] from the baseline's 0.93 (allowed -0.005)")
    assert json.loads((Path(outcome.uri) / "verdict.json").read_text())["refusals"] == list(report.refusals)


def test_without_confidence_the_same_win_blesses_and_the_same_loss_refuses(judge: Judge) -> None:
    assert judge(GateConfig("accuracy", min_gain=0.005)).refusals == ()
    assert judge(GateConfig("recall/positive", max_drop=0.005)).refusals == (
        "recall/positive on all data is 0.91, -0.012 from the baseline's 0.93 (allowed -0.005)",
    )


def test_a_costly_confusion_is_refused_although_accuracy_rose(outcome: Outcome) -> None:
    overall = outcome.report.overall

    # 18 errors at 1 and 16 at 10; before, 36 at 1.
    assert overall.metrics["expected_cost"] == pytest.approx(178 / NUM_EXAMPLES)
    assert overall.baseline["expected_cost"] == pytest.approx(36 / NUM_EXAMPLES)
    refusal = outcome.report.refusals[1]
    assert refusal.startswith("expected_cost on all data is 0.73, +0.58 [+0.")
    assert refusal.endswith(" at 60 %] from the baseline's 0.15 (allowed +0.10)")


def test_the_difference_from_the_baseline_is_surer_than_either_model(judge: Judge) -> None:
    row = judge.row("category=running")

    # By hand: sqrt(0.133 * 0.867 / 90) = 0.036 of 12 errors, of which 11 are the baseline's too.
    assert row.estimates["accuracy"].std_error == pytest.approx(0.036, rel=0.6)
    assert row.changes["accuracy"].std_error == pytest.approx(2**0.5 / 90, rel=0.6)


def test_a_real_loss_is_refused_with_confidence(judge: Judge) -> None:
    verdict = judge(
        GateConfig("recall/negative", slice="category", max_drop=0.1, confidence=0.95, min_examples=10)
    )

    # 15 of 20 lost, by hand 0.75 +- 0.2.
    (refusal,) = verdict.refusals
    assert refusal.startswith("recall/negative on category=sandals is 0.25, -0.75 [-0.")
    assert refusal.endswith("from the baseline's 1.00 (allowed -0.10)")
    assert verdict.notes == (
        "recall/negative not judged where there are under 10 examples: category=clogs (1), category=slippers (3)",
    )


def test_a_real_gain_is_blessed_with_confidence(judge: Judge) -> None:
    # 19 of 81 gained, by hand 0.23 +- 0.1.
    assert judge(GateConfig("recall/neutral", min_gain=0.05, confidence=0.95)).refusals == ()


def test_a_slice_behind_the_rest_is_refused_and_a_tiny_one_is_not(judge: Judge) -> None:
    verdict = judge(
        GateConfig("recall/negative", slice="category", max_gap=0.2, min_examples=10),
        GateConfig("recall/negative", slice="category", max_gap=0.2, confidence=0.9),
    )

    # Sandals 5 of 20, all others 60 of 61; slippers 0 of 1, which no interval makes sure.
    assert verdict.refusals[0] == (
        "recall/negative on category=sandals (60 examples) is 0.25, 0.73 behind the rest's 0.98 (allowed 0.20)"
    )
    assert len(verdict.refusals) == 2
    assert verdict.refusals[1].startswith(
        "recall/negative on category=sandals (60 examples) is 0.25, 0.73 [0."
    )
    noise = next(note for note in verdict.notes if note.startswith("within noise"))
    assert "category=slippers (3 examples) is 0.00, 0.81 [too few examples" in noise
    assert verdict.behind[0] == verdict.refusals[0]


def test_a_slice_of_one_example_is_measured_and_has_no_interval(judge: Judge) -> None:
    row = judge.row("category=clogs")

    assert row.metrics["accuracy"] == 1.0
    verdict = judge(GateConfig("accuracy", slice="category=clogs", min=0.5, confidence=0.95))
    assert verdict.refusals == (
        "accuracy on category=clogs is 1.00 [too few examples for an interval at 95 %], "
        "and must surely be at least 0.50",
    )


def test_a_bound_with_confidence_wants_the_whole_interval(judge: Judge) -> None:
    assert judge(GateConfig("accuracy", min=0.75, confidence=0.95)).refusals == ()
    (refusal,) = judge(GateConfig("accuracy", min=0.855, confidence=0.95)).refusals
    assert refusal.startswith("accuracy on all data is 0.86 [0.8")
    assert refusal.endswith(" at 95 %], and must surely be at least 0.85")
    (refusal,) = judge(GateConfig("expected_cost", max=0.7, confidence=0.95)).refusals
    assert refusal.endswith("and must surely be at most 0.70")


def test_an_interval_is_never_narrower_than_one_example(judge: Judge) -> None:
    assert judge.row("category=boots").estimates["recall/negative"] == Estimate(1.0, 1 / 30)


@pytest.mark.slow
def test_the_bootstrap_finds_the_same_standard_errors(judge: Judge, tmp_path: Path) -> None:
    outcome = _evaluate(tmp_path, "bootstrap")

    mine = outcome.report.overall
    for name in ("accuracy", "macro_f1", "expected_cost", "recall/neutral", "auc"):
        assert mine.estimates[name].std_error == pytest.approx(
            judge.row("").estimates[name].std_error, rel=0.8
        )
    assert mine.changes["accuracy"].value == pytest.approx(2 / NUM_EXAMPLES)
