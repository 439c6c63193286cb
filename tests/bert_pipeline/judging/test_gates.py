"""Gates through TFX's own Evaluator: bad models are refused, good ones blessed, and the report says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from bert_task import DataConfig

from bert_pipeline.settings.sections import EvaluationConfig, GateConfig, TaskConfig
from tests.bert_pipeline.lookup_model import Outcome, evaluate_model, save_lookup_model, write_examples

LABELS = ("negative", "neutral", "positive")
CATEGORIES = ("boots", "men's dress shoes")

# 60 examples: text, label, category. Each label 10 times in each category.
ROWS = [
    (f"{category} {label} {i}", label, category)
    for category in CATEGORIES
    for label in LABELS
    for i in range(10)
]


def _right_but(wrong: dict[str, str]) -> dict[str, str]:
    return {text: wrong.get(text, label) for text, label, _ in ROWS}


GOOD = _right_but({f"{CATEGORIES[0]} neutral 0": "positive", f"{CATEGORIES[1]} neutral 0": "positive"})
BETTER = _right_but({})
SHUFFLED = {text: LABELS[(LABELS.index(label) + 1) % 3] for text, label, _ in ROWS}
ONE_CLASS = {text: "positive" for text, _, _ in ROWS}
# 12 of the 30 dress shoes are wrong: 0.8 of all and 0.6 of the slice are right.
WORSE_ON_SLICE = _right_but(
    {f"men's dress shoes {label} {i}": "positive" for label in ("negative", "neutral") for i in range(6)}
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported models, as TFX lays them out."""
    answers = {
        "good": GOOD,
        "better": BETTER,
        "shuffled": SHUFFLED,
        "one_class": ONE_CLASS,
        "worse_on_slice": WORSE_ON_SLICE,
    }
    root = tmp_path_factory.mktemp("models")
    return {name: save_lookup_model(root / name, table, labels=LABELS) for name, table in answers.items()}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw examples as ExampleGen writes them."""
    return write_examples(tmp_path_factory.mktemp("examples"), ROWS)


def _task(*gates: GateConfig) -> TaskConfig:
    data = DataConfig(path=".", text=("text",), label="label", labels=LABELS, files={"all": "x.csv"})
    return TaskConfig(
        name="gates",
        description="",
        data=data,
        evaluation=EvaluationConfig(slices=("category",), gates=gates, intervals="none"),
    )


class Trial:
    """Evaluates a named model under gates."""

    def __init__(self, models: dict[str, Path], examples: Path, tmp_path: Path) -> None:
        self._models, self._examples, self._out = models, examples, tmp_path

    def __call__(self, model: str, *gates: GateConfig, baseline: str = "") -> Outcome:
        return evaluate_model(
            _task(*gates),
            self._models[model],
            examples=self._examples,
            out=self._out,
            baseline=self._models[baseline] if baseline else None,
        )


@pytest.fixture
def evaluate(models: dict[str, Path], examples: Path, tmp_path: Path) -> Trial:
    """`evaluate(model, *gates, baseline=...)`."""
    return Trial(models, examples, tmp_path)


def test_a_good_model_is_blessed_and_its_metrics_are_those_of_the_hand_computed_matrix(
    evaluate: Trial,
) -> None:
    outcome = evaluate(
        "good", GateConfig("accuracy", min=0.9), GateConfig("macro_f1", slice="category", min=0.9)
    )

    assert outcome.blessed_file
    report = outcome.report
    assert report.blessed and report.refusals == () and not report.has_baseline
    # 20 negative, 20 neutral of which 2 are called positive, 20 positive.
    assert report.overall.confusion == ((20, 0, 0), (0, 18, 2), (0, 0, 20))
    expected = {
        "example_count": 60.0,
        "accuracy": 58 / 60,
        "precision/positive": 20 / 22,
        "precision/neutral": 1.0,
        "recall/neutral": 0.9,
        "recall/positive": 1.0,
        "macro_f1": (1.0 + 36 / 38 + 40 / 42) / 3,
        # 58 answers right with 0.8, 2 wrong with 0.1 for the truth: -(58 ln 0.8 + 2 ln 0.1) / 60.
        "loss": 0.292461,
        # One bin of confidence 0.8, where 0.9667 are right.
        "calibration_error": 58 / 60 - 0.8,
    }
    assert {name: report.overall.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert [(s.slice, s.num_examples) for s in report.slices] == [
        ("category=boots", 30),
        ("category=men's dress shoes", 30),
    ]


def test_a_model_of_shuffled_labels_is_refused(evaluate: Trial) -> None:
    outcome = evaluate("shuffled", GateConfig("accuracy", min=0.7), GateConfig("recall/negative", min=0.5))

    assert not outcome.blessed_file and not outcome.report.blessed
    assert sorted(outcome.report.refusals) == [
        "accuracy on all data is 0.00, below the bound 0.70 (by 0.70)",
        "recall/negative on all data is 0.00, below the bound 0.50 (by 0.50)",
    ]


def test_a_model_that_answers_one_class_only_is_refused_by_the_default_gates(evaluate: Trial) -> None:
    outcome = evaluate("one_class")

    assert not outcome.blessed_file
    # F1 of positive is 2 * 20 / (20 + 60) = 0.5, of the others 0.
    assert outcome.report.refusals == ("macro_f1 on all data is 0.17, below the bound 0.38 (by 0.22)",)
    assert "the default ones hold" in outcome.report.notes[0]
    assert "no other model that ML Metadata knows was in service" in outcome.report.notes[1]


def test_a_metric_that_is_not_defined_and_a_slice_without_examples_never_pass(evaluate: Trial) -> None:
    outcome = evaluate(
        "one_class",
        GateConfig("precision/negative", max=1.0),
        GateConfig("accuracy", slice="category=sandals", min=0.5),
        GateConfig("loss", slice="category=slippers", max_rise=0.1),
    )

    assert not outcome.blessed_file
    assert sorted(outcome.report.refusals) == [
        "no evaluated example has category=sandals, and a gate bounds that slice",
        "no evaluated example has category=slippers, and a gate bounds that slice",
        "precision/negative on all data is not defined (the model never answers negative), and must be at most 1.00",
    ]


def test_a_model_that_is_worse_on_a_slice_only_is_refused_by_bound_and_by_baseline(evaluate: Trial) -> None:
    outcome = evaluate(
        "worse_on_slice",
        GateConfig("accuracy", min=0.9, max_drop=0.1),
        GateConfig("accuracy", slice="category=men's dress shoes", min=0.85),
        GateConfig("accuracy", slice="category", max_drop=0.1),
        GateConfig("loss", max_rise=0.05),
        baseline="better",
    )

    assert not outcome.blessed_file and outcome.report.has_baseline
    assert outcome.report.overall.baseline["accuracy"] == 1.0
    assert outcome.report.overall.metrics["accuracy"] == pytest.approx(48 / 60)
    assert sorted(outcome.report.refusals) == [
        # 12 lost and none gained: 1 of 4,096 by chance, over 0.35, the share of each of two comparisons on all data.
        "accuracy on all data is 0.80, 0.20 below the baseline's 1.00 (allowed 0.10; p 0.0007)",
        "accuracy on all data is 0.80, below the bound 0.90 (by 0.10)",
        "accuracy on category=men's dress shoes is 0.60, 0.40 below the baseline's 1.00 (allowed 0.10; p 0.0007)",
        "accuracy on category=men's dress shoes is 0.60, below the bound 0.85 (by 0.25)",
        # 48 * -ln 0.8 and 12 * -ln 0.1, over 60, against -ln 0.8.
        "loss on all data is 0.64, 0.42 above the baseline's 0.22 (allowed 0.05; p 0.0007)",
    ]


def test_a_model_as_good_as_the_baseline_is_blessed(evaluate: Trial) -> None:
    outcome = evaluate("better", GateConfig("accuracy", slice="category", max_drop=0.0), baseline="good")

    assert outcome.blessed_file and outcome.report.refusals == () and outcome.report.notes == ()


def test_a_first_model_is_blessed_where_only_a_baseline_bounds_it_and_the_report_says_so(
    evaluate: Trial,
) -> None:
    outcome = evaluate("shuffled", GateConfig("accuracy", max_drop=0.02))

    assert outcome.blessed_file
    assert outcome.report.notes == (
        "no other model that ML Metadata knows was in service before this one; bounds not checked: "
        "accuracy on all data: max_drop 0.02",
    )


def test_examples_without_a_value_of_a_slice_column_are_counted(
    models: dict[str, Path], tmp_path: Path
) -> None:
    rows = [(text, label, "" if i < 7 else category) for i, (text, label, category) in enumerate(ROWS)]
    outcome = evaluate_model(
        _task(GateConfig("accuracy", min=0.5)),
        models["good"],
        examples=write_examples(tmp_path / "examples", rows),
        out=tmp_path,
    )
    counts = {row.slice: row.num_examples for row in outcome.report.slices}
    assert counts == {"category=boots": 23, "category=men's dress shoes": 30}
    assert outcome.report.notes == (
        "7 of 60 evaluated examples have no value of category; they are in none of its slices",
    )
