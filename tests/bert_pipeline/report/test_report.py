"""The report's parts: numbers from answers, plots for a page, pictures, escaping, and what happens when it fails."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from matplotlib.text import Annotation

from bert_pipeline.components.predictions import Writing, as_line
from bert_pipeline.history.lineage import Picture
from bert_pipeline.metadata import run_history, run_record
from bert_pipeline.report import after_run, answers, card, evaluation, page, plots, training
from bert_pipeline.report.answers import Answers
from bert_pipeline.report.page import Quote, Section
from bert_pipeline.report.source import source_of
from tests.bert_pipeline.pages import Page
from tests.bert_pipeline.past import Past, recorded


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


def five(baseline: bool = True) -> Answers:
    """Labels 0 0 0 1 1, answered 0 0 1 1 0; the baseline answered 0 1 1 1 1."""
    before = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.45, 0.55]]
    return Answers(
        columns=tuple({"text": f"t{i}", "label": "x"} for i in range(5)),
        label_ids=np.array([0, 0, 0, 1, 1]),
        candidate=np.array([[0.99, 0.01], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.95, 0.05]]),
        baseline=np.array(before) if baseline else None,
    )


def test_calibration_counts_answers_by_confidence():
    bins = answers.calibration(five())
    assert [(round(b.low, 3), b.count, round(b.confidence, 3), b.accuracy) for b in bins] == [
        (0.667, 1, 0.7, 1.0),
        (0.8, 1, 0.8, 1.0),
        (0.867, 1, 0.9, 0.0),
        (0.933, 2, 0.97, 0.5),
    ]


def test_abstaining_says_how_many_are_answered_and_how_many_of_those_right():
    kept, right = answers.abstaining(five(), np.array([0.0, 0.85, 1.0]))
    assert kept.tolist() == [1.0, 0.6, 0.0]
    assert right[:2].tolist() == [0.6, pytest.approx(1 / 3)]
    assert np.isnan(right[2])


def test_precision_and_recall_by_threshold_of_one_label():
    precision, recall = answers.precision_recall(five(), 1, np.array([0.0, 0.5, 0.8]))
    assert precision.tolist() == [0.4, 0.5, 0.0]
    assert recall.tolist() == [1.0, 0.5, 0.0]


def test_mistakes_come_with_the_most_confident_first_and_disagreements_with_the_widest():
    assert answers.confident_mistakes(five(), 5) == [4, 2]
    assert answers.confident_mistakes(five(), 1) == [4]
    assert answers.disagreements(five(), 1) == ([4], 2)
    assert answers.disagreements(five(baseline=False), 5) == ([], 0)


def test_a_line_has_columns_label_and_the_probabilities_of_each_model():
    extracts = {
        tfma.FEATURES_KEY: {"text": np.array([b"caf\xc3\xa9 \xff"]), "stars": np.array([b"pos"])},
        tfma.LABELS_KEY: {"candidate": {"label_id": np.array([1])}, "baseline": {"label_id": np.array([1])}},
        tfma.PREDICTIONS_KEY: {
            "candidate": {"probabilities": np.array([0.25, 0.75])},
            "baseline": {"probabilities": np.array([0.5, 0.5])},
        },
    }
    names = {"candidate": "candidate", "baseline": "baseline"}
    to = Writing("", "stars", ("neg", "pos"))
    assert json.loads(as_line(extracts, names=names, label_key="label_id", to=to)) == {
        "columns": {"stars": "pos", "text": "café �"},
        "label_id": 1,
        "probabilities": {"candidate": [0.25, 0.75], "baseline": [0.5, 0.5]},
    }
    alone = {
        **extracts,
        tfma.LABELS_KEY: np.array([0]),
        tfma.PREDICTIONS_KEY: {"probabilities": np.array([1.0, 0.0])},
    }
    line = json.loads(as_line(alone, names={"": "candidate"}, label_key="label_id", to=to))
    assert (line["label_id"], line["probabilities"]) == (1, {"candidate": [1.0, 0.0]})
    alone[tfma.PREDICTIONS_KEY] = {
        "probabilities": np.array([0.7, 0.3]),
        "labels": np.array([b"pos", b"new"]),
    }
    line = json.loads(as_line(alone, names={"": "candidate"}, label_key="label_id", to=to))
    assert (line["label_id"], line["probabilities"]) == (1, {"candidate": [0.0, 0.7]})
    assert line["other_labels"] == {"candidate": ["pos", "new"]}


def test_letters_of_a_plot_are_text_and_the_same_plot_is_the_same_file():
    def draw() -> str:
        with plots.plot(height=100) as (drawn, svg):
            axes = drawn.subplots()
            axes.plot([0, 1], [0, 1], "o", label="$5 <b> 靴")
            axes.legend()
        return svg.getvalue()

    assert "$5 &lt;b&gt; 靴" in draw()
    assert draw() == draw()


def test_many_labels_are_told_by_their_most_frequent_mistakes():
    matrix = np.diag([10] * 20)
    matrix[3, 7], matrix[5, 2] = 4, 9
    figure = evaluation.matrix_figure(matrix, [f"label {i}" for i in range(20)])
    assert figure.numbers.rows == (("label 5", "label 2", "9"), ("label 3", "label 7", "4"))
    assert figure.finding == (
        "13 of 213 answers are wrong. The most frequent mistake: label 5 is taken for label 2, 9 times."
    )


def test_lineage_stands_in_layers_from_the_data_to_the_push():
    boxes = {
        "a1": ("Examples 1", "span 2"),
        "a2": ("Schema 2",),
        "a3": ("Model <3>",),
        "a4": ("PushedModel 4",),
    }
    arrows = (("a1", "a3", "Trainer"), ("a2", "a3", "Trainer"), ("a3", "a4", "Pusher"))
    drawn = Picture(boxes, "a3", arrows)
    assert training.layers(drawn) == [["a1", "a2"], ["a3"], ["a4"]]
    with plots.plot(height=100) as (figure, svg):
        axes = figure.subplots()
        training.draw_lineage(axes, drawn)
    assert "Model &lt;3&gt;" in svg.getvalue()
    assert svg.getvalue().count("by Trainer") == 1
    assert sum(isinstance(text, Annotation) for text in axes.texts) == 3  # the arrows


def test_training_curves_are_read_from_tensorboard_files(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "held_out"))
    with writer.as_default():
        tf.summary.scalar("loss", 0.5, step=10)
        tf.summary.scalar("loss", 0.25, step=20)
    writer.close()
    assert training.read_curves(tmp_path) == {("held_out", "loss"): ([10, 20], [0.5, 0.25])}


TRAINED = {
    "num_train_examples": 769,
    "num_steps": 98,
    "seconds": 60.4,
    "examples_per_second": 31.2,
    "best_epoch": 1,
    "warm_start": "",
    "history": {
        "cross_entropy": [0.9, 0.3],
        "accuracy": [0.5, 0.9],
        "val_cross_entropy": [0.6, 0.7],
        "val_accuracy": [0.8, 0.75],
    },
}


def training_of(past: Past, **record) -> tuple[str, page.Figure]:
    """The sentence and the figure of a training with that record."""
    past.run(span=1, weights="a")
    folder = Path(past.store.get_artifacts_by_type("ModelRun")[0].uri)
    (folder / "training.json").write_text(json.dumps(record))
    with tf.summary.create_file_writer(str(folder / "train")).as_default():
        tf.summary.scalar("loss", 0.5, step=10)
    run_name = run_history.read_history(past.store, task="toy").runs[0].name
    source = source_of(past.store, paths=past.paths, run_name=run_name, num_examples=0)
    text, figure = training.training(source).blocks
    return text, figure


def test_training_says_what_chose_the_epoch_and_shows_both_parts(past):
    chosen = "epoch 1 of 2, chosen on 71 texts of train that it did not train on"
    sentence, figure = training_of(past, **TRAINED, chosen_on=chosen)
    assert sentence == (
        "2 epochs over 769 examples, 98 steps, 60 s at 31 examples/s; the weights are those of epoch 1 of 2, chosen on "
        "71 texts of train that it did not train on."
    )
    assert figure.finding == (
        "Loss went from 0.900 to 0.300 on what was trained on and from 0.600 to 0.700 on the held-out texts, where "
        "accuracy was 0.800 in epoch 1, whose weights were kept."
    )
    assert figure.numbers.header == (
        "epoch", "train loss", "train accuracy", "held-out loss", "held-out accuracy"
    )  # fmt: skip
    assert figure.numbers.rows[1] == ("2", "0.300", "0.900", "0.700", "0.750")


def test_training_of_which_nothing_was_held_out_shows_its_own_figures_alone(past):
    only = {name: TRAINED["history"][name] for name in ("cross_entropy", "accuracy")}
    chosen = "epoch 2 of 2, the last: training.held_out_share is 0"
    _, figure = training_of(past, **TRAINED | {"best_epoch": 2, "history": only, "chosen_on": chosen})
    assert figure.finding == f"Loss went from 0.900 to 0.300 on what was trained on; {chosen}."
    assert figure.numbers.header == ("epoch", "train loss", "train accuracy")


def test_training_from_before_says_that_the_gates_read_what_chose(past):
    sentence, figure = training_of(past, **TRAINED)
    assert "epoch 1 of 2, chosen on the eval split, which the gates read as well." in sentence
    assert figure.numbers.header[3:] == ("eval loss", "eval accuracy")


def quoted(past: Past, text: str, limit: int) -> Section:
    """Section of examples of a run whose texts are all `text`."""
    settings = {
        "data": {"text": ["text"], "label": "label", "labels": ["bad", "good"]},
        "evaluation": {"slices": []},
    }
    with recorded(past.store, {run_record.SETTINGS: json.dumps(settings)}) as record:
        past.execute(record.run_id, "Trainer", {}, {"model": "Model"})
    source = source_of(past.store, paths=past.paths, run_name=record.run_id, num_examples=limit)
    found = five()
    rows = tuple({"text": text} for _ in found.columns)
    return answers.examples(source, Answers(rows, found.label_ids, found.candidate, found.baseline))


def test_texts_are_data_and_never_markup(past):
    section = quoted(past, "<script>alert(1)</script> & more", limit=9)
    html = (
        page.environment()
        .get_template("report.html.j2")
        .render(headline="Refused", task="<b>", description="", run=1, when="", sections=[section])
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more") == 4  # 2 mistakes, 2 disagreements
    assert "<title>Refused: &lt;b&gt;, run 1</title>" in html
    assert Page(html).problems == []


def test_no_text_is_shown_where_the_task_wants_none(past):
    section = quoted(past, "a secret", limit=0)
    blocks = [block for part in section.parts for block in part.blocks]
    assert not any(isinstance(block, Quote) for block in blocks)
    assert "2 of 5 answers are wrong. The task wants none shown (report.examples is 0)." in str(blocks)


def test_nothing_in_a_card_is_markup():
    assert card.cell("a|b <i>\n[x](y) `z`") == r"a\|b &lt;i&gt; \[x\](y) \`z\`"


def test_names_with_quotes_and_line_breaks_leave_the_card_whole():
    odd = 'it\'s\n# "x" | <b>'
    history = SimpleNamespace(task="toy")
    call = card._call(SimpleNamespace(settings={"data": {"text": [odd, "b"]}}, history=history))
    words = shlex.split(f"curl -d {call['body']} {call['url']}")
    assert json.loads(words[2]) == {"instances": [{odd: "...", "b": "..."}]}
    assert "\n" not in call["body"]
    text = card._template().render(
        task="toy",
        settings={
            "description": odd,
            "data": {"labels": [odd, "men's"]},
            "text": {"max_seq_length": 8},
            "encoder": {"pooling": "mean"},
            "training": {},
            "evaluation": {"costs": {odd: {"b": 3.0}}, "cost_unit": "min"},
        },
        intended_use="", data_license="", state="pushed", encoder={"handle": odd, "sha256": "5", "license": "MIT"},
        data=[], spans="", epoch="", header=["slice"], rows=[["all"]], confidence="95%", num_evaluated=1, limits=[],
        facts=[], call=call,
    )  # fmt: skip
    shown = r"""it's # "x" \| &lt;b&gt;"""
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("# ")] == ["# Model card: toy"]
    assert f"{shown}. A BERT, fine-tuned, that gives a text one of 2 labels:" in lines
    assert f'"{shown}", "men\'s".' in lines
    assert f"{shown} taken for b: 3.0." in lines


def test_a_report_that_cannot_be_written_is_a_note(past):
    with recorded(past.store, {run_record.COMMIT: "c0ffee"}) as record:
        past.execute(record.run_id, "ExampleGen", {}, {"examples": "Examples"})
    (past.paths.root / "reports").write_text("a file where the folder should be")
    lines = after_run.Reports(past.store, past.paths, num_examples=3, say=print).lines(record.run_id)
    assert len(lines) == 1
    assert re.match(r"note      no report was written: (FileExists|NotADirectory)Error: ", lines[0])
    assert not past.paths.newest_report.exists()


def test_a_run_that_stops_gets_a_report_that_says_why(past, capsys):
    reports = after_run.Reports(past.store, past.paths, num_examples=3, say=print)
    with (
        pytest.raises(ValueError, match="no <luck>"),
        recorded(past.store, {}, on_stop=reports.tell) as record,
    ):
        past.execute(record.run_id, "ExampleGen", {}, {"examples": "Examples"})
        raise ValueError("no <luck>")
    html = past.paths.newest_report.read_text(encoding="utf-8")
    assert "<title>Stopped: toy, run 1</title>" in html
    assert "no &lt;luck&gt;" in html
    assert Page(html).row("What ran", "ExampleGen") == ["complete"]
    assert Page(html).problems == []
    assert not (past.paths.report_dir(record.run_id) / "model_card.md").exists()
    assert past.verb("report", "--no-open") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report    {past.paths.newest_report}"


def test_a_run_that_stops_before_it_executed_anything_gets_a_report_too(past):
    past.run(span=1, weights="a")
    reports = after_run.Reports(past.store, past.paths, num_examples=3, say=print)
    with pytest.raises(ValueError), recorded(past.store, {}, on_stop=reports.tell):
        raise ValueError("span 1, which the window holds, is broken")
    html = past.paths.newest_report.read_text(encoding="utf-8")
    assert re.search(r"</span> run of \d{4}-\d\d-\d\d", html)
    assert "span 1, which the window holds, is broken" in html


def test_report_without_a_run_says_what_to_do(past, capsys):
    assert past.verb("report", "--no-open") == 2
    assert f"python -m bert_pipeline pipeline --task toy --out {past.out} first" in capsys.readouterr().err
