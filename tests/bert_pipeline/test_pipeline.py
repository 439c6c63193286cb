"""The graph end to end, on the toy, by the command that people type.

Each fixture is one run of the command in a copy of the project; they follow each other on one output folder.
"""

from __future__ import annotations

import csv
import json
import re

import matplotlib.image as mpl_image
import numpy as np
import pyarrow.parquet as pq
import pytest
from tfx.utils import dependency_utils

from bert_pipeline.pipeline import BEAM_ARGS
from bert_pipeline.report import card as model_card
from tests.bert_pipeline.boards import board
from tests.bert_pipeline.pages import CHROMIUM, SECTIONS, screenshot
from tests.bert_pipeline.projects import EVERY_COMPONENT, Ended, Project

# What chose the epoch of the toy's model: of its 148 texts a tenth is too little.
EPOCH = "epoch 12 of 12, the last: training.held_out_share = 0.1 would hold out 11 of 148 texts, under 30"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def first(project: Project) -> Ended:
    return project.run()


@pytest.fixture(scope="module")
def second(project: Project, first: Ended) -> Ended:
    """The same settings, which are only described in other words."""
    for path in ("bert_pipeline/settings/sections.py", "bert_pipeline/judging/gates.py"):
        project.edit(path, lambda text: text.replace("model", "candidate", 1))
    project.edit("bert_pipeline/tasks/toy.toml", lambda text: f"# A remark.\n{text}")
    return project.run()


@pytest.fixture(scope="module")
def stricter(project: Project, second: Ended) -> Ended:
    """The same model under a bound that it cannot keep, with unlabelled texts that cannot be read."""
    project.edit("bert_pipeline/tasks/toy.toml", lambda text: text.replace("min = 0.8\n", "max = 0.1\n"))
    project.edit("data/toy/unlabelled.csv", lambda text: text + "one,two,three\n")
    ended = project.run()
    project.edit("bert_pipeline/tasks/toy.toml", lambda text: text.replace("max = 0.1\n", "min = 0.8\n"))
    return ended


def test_first_run_passes_through_every_component_and_pushes(first):
    assert first.status == 0, first.text
    assert [first.state(node) for node in EVERY_COMPONENT] == ["ran"] * len(EVERY_COMPONENT)
    assert len(first.versions) == 1
    assert f"pushed as version {first.versions[0]}" in first.text


def test_summary_names_slices_the_model_and_the_next_command(first):
    assert re.search(
        r"^all data +50 +[01]\.\d{3} ±0\.\d{3} +[01]\.\d{3} ±0\.\d{3}$", first.text, re.MULTILINE
    )
    assert re.search(
        r"^held +accuracy on all data [01]\.\d{2} \[.*\], at least 0\.80$", first.text, re.MULTILINE
    )
    assert re.search(r"^held +accuracy on each part, 5 slices, the nearest part=", first.text, re.MULTILINE)
    assert re.search(r"^part=sole +\d+ +[01]\.\d{3}", first.text, re.MULTILINE)
    assert f"serving/toy/{first.versions[0]}" in first.text
    assert f"\ntraining  {EPOCH}\n" in first.text
    assert "next      python -m bert_pipeline serve --task toy\n" in first.text


def test_terminal_shows_no_log_of_a_library(first):
    noise = re.findall(r"(?:^|\r)(?:WARNING|INFO|[IWE]\d{4}|\d{4}-\d\d-).*", first.text, re.MULTILINE)
    assert noise == []


def test_pushed_model_holds_its_warm_up_requests(project, first):
    pushed = project.folder / "out/toy/serving/toy" / first.versions[0]
    assert (pushed / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


def test_summary_is_written_for_programs(project, second):
    summary = json.loads((project.folder / "out/toy/summary.json").read_text())
    assert (summary["task"], summary["epoch"]) == ("toy", EPOCH)
    assert 0.8 <= summary["metrics"]["accuracy"] <= 1


def test_second_run_under_edited_docstrings_and_remarks_does_nothing_and_says_so(first, second):
    assert second.status == 0, second.text
    done = [node for node in EVERY_COMPONENT if node not in ("Baseline", "Pusher")]
    assert [second.state(node) for node in done] == ["cached"] * len(done)
    assert second.versions == first.versions
    assert "nothing was trained, evaluated or pushed" in second.text


def test_run_without_a_change_loads_neither_tensorflow_nor_tfx_and_prints_what_it_would_find(project, second):
    third = project.run()
    assert third.status == 0, third.text
    assert [third.state(node) for node in EVERY_COMPONENT] == ["cached"] * len(EVERY_COMPONENT)
    assert "loading TensorFlow" not in third.text
    tables = [re.sub(r"\ntime .*", "", ended.text.partition("\nslice  ")[2]) for ended in (second, third)]
    assert tables[0] == tables[1]


def test_changed_bound_evaluates_again_and_trains_nothing(stricter):
    states = [stricter.state(node) for node in ("Transform", "Trainer", "Evaluator")]
    assert states == ["cached", "cached", "ran"]


def test_refused_model_leaves_what_is_in_service_and_names_the_bound(first, stricter):
    assert stricter.status == 1, stricter.text
    assert stricter.versions == first.versions
    assert "verdict   REFUSED" in stricter.text
    assert re.search(r"accuracy on all data is \d\.\d+, above the bound 0\.10 \(by 0\.\d+\)", stricter.text)


def test_bulk_inference_that_fails_is_told_and_stops_nothing(stricter):
    assert stricter.state("UnlabelledExampleGen") == "failed"
    assert "3 cells, but the header names 2 columns" in stricter.text
    assert stricter.state("Pusher") == "ran"


def test_unlabelled_texts_become_a_table_in_their_order(project, first):
    path = re.search(r"^labelled  (.*/labelled\.csv)$", first.text, re.MULTILINE)
    assert path, first.text
    with open(path[1], encoding="utf-8", newline="") as file:
        labelled = list(csv.DictReader(file))
    with open(project.folder / "data/toy/unlabelled.csv", encoding="utf-8", newline="") as file:
        given = list(csv.DictReader(file))
    answer = ["predicted_label", "probability_negative", "probability_positive"]
    assert list(labelled[0]) == ["text", "part", *answer]
    # The edited file of a later run ends in a row that is broken.
    assert [row["text"] for row in labelled] == [row["text"] for row in given][: len(labelled)]
    assert len(labelled) == 3
    for row in labelled:
        shares = [float(row[column]) for column in answer[1:]]
        assert sum(shares) == pytest.approx(1, abs=2e-6)
        assert row["predicted_label"] == ("negative", "positive")[shares[1] > shares[0]]


def test_report_of_a_run_has_every_section_and_says_what_the_summary_says(project, second):
    page, summary = second.report, json.loads((project.folder / "out/toy/summary.json").read_text())
    assert page.sections == SECTIONS
    assert page.problems == []
    assert page.landmarks == ["header", "nav", "main", "footer"]
    assert '<html lang="en">' in page.text
    assert "<title>Pushed: toy, run 1</title>" in page.text
    assert f"Pushed as version {second.versions[0]}." in page.text
    for name, found in {"all data": summary, **summary["slices"]}.items():
        row = page.row("accuracy by slice", name)
        assert row[:2] == [str(found["num_examples"]), f"{found['metrics']['accuracy']:.3f}"]
    assert page.row("macro F1 by slice", "all data")[1] == f"{summary['metrics']['macro_f1']:.3f}"
    texts = page.tables["Texts by split and span"]
    assert [row[:2] for row in texts[1:]] == [["train", "148"], ["eval", "50"]]
    assert page.tables["Each epoch"][0] == ["epoch", "train loss", "train accuracy"]
    assert len(page.tables["Each epoch"]) == 1 + 12
    assert f"the weights are those of {EPOCH}." in page.text
    assert page.row("Every setting of the task", "training.batch_size") == ["8"]
    lineage = page.tables["Lineage in words"]
    assert {row[2].split()[0] for row in lineage if row[1] == "Trainer"} == {"Model"}
    confusion = page.tables["Examples by true and answered label"]
    assert sum(int(cell) for row in confusion[1:] for cell in row[1:3]) == 50
    assert sum(int(row[1]) for row in page.tables["Calibration"][1:]) == 50


def test_identical_run_leaves_the_report_of_the_model_in_service(project, first, second):
    assert second.report_path == first.report_path


def test_refused_run_has_a_report_with_its_reasons_and_it_is_the_newest(project, stricter):
    page = stricter.report
    assert page.problems == []
    assert "<title>Refused: toy, run 3</title>" in page.text
    assert "above the bound 0.10" in page.text
    assert "UnlabelledExampleGen failed; the push is not affected" in page.text
    card = stricter.report_path.with_name("model_card.md").read_text()
    assert "- state: refused: it was never in service\n" in card
    assert re.search(r"^- A gate refused it: accuracy on all data is .*0\.10", card, re.MULTILINE)


def test_model_card_travels_with_the_pushed_version(project, first):
    extra = project.folder / "out/toy/serving/toy" / first.versions[0] / "assets.extra"
    card = (extra / "model_card.md").read_text(encoding="utf-8")
    assert card == first.report_path.with_name("model_card.md").read_text(encoding="utf-8")
    assert f"- state: pushed as version {first.versions[0]}\n" in card
    heads = re.findall("^## (.*)$", card, re.MULTILINE)
    assert heads[:4] == [
        "Model details", "Uses", "Bias, risks, and limitations", "How to get started with the model",
    ]  # fmt: skip
    assert "| all data | 50 | " in card
    assert "| batch_size | 8 |" in card
    assert f"The weights are those of {model_card.cell(EPOCH)}." in card


@pytest.mark.slow
def test_report_verb_writes_an_older_run_anew_and_leaves_the_newest(project, first, stricter):
    newest = project.folder / "out/toy/report.html"
    before = newest.read_text(encoding="utf-8")
    first.report_path.unlink()
    ended = project.run("1", "--no-open", verb="report")
    assert ended.status == 0, ended.text
    assert ended.report_path == first.report_path
    assert "Pushed: toy, run 1" in ended.report.text
    assert newest.read_text(encoding="utf-8") == before


@pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED: the report in a browser; install Chromium (Debian: chromium)"
)
def test_report_can_be_looked_at_in_light_and_dark_and_narrow(first, second, tmp_path):
    corners = {}
    for name, flags in (
        ("light", ["--window-size=1100,4000"]),
        ("dark", ["--window-size=1100,4000", "--blink-settings=preferredColorScheme=0"]),
        ("narrow", ["--window-size=400,4000"]),
    ):
        shot = tmp_path / f"{name}.png"
        assert screenshot(second.report_path, shot, *flags) == ""
        image = mpl_image.imread(shot)[..., :3].round(2)
        corners[name] = image[2, 2].tolist()
        assert len(np.unique(image[::7, ::7].reshape([-1, 3]), axis=0)) > 20  # not blank
    assert corners["light"] == corners["narrow"] == [1.0, 1.0, 1.0]
    assert max(corners["dark"]) < 0.2


def test_label_verb_labels_a_folder_with_the_model_in_service(project, first, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.csv").write_text("id,text\n7,i love this sole\n3,my heel is poor\n")
    (tmp_path / "texts" / "b.csv").write_text("id,text\n5,not a good fit\n")
    target = tmp_path / "labelled.parquet"
    # -v: TFX's Beam executors read the command line once more, and take -v for a number.
    ended = project.run("-v", "--texts", str(tmp_path / "texts"), "--to", str(target), verb="label")
    assert ended.status == 0, ended.text
    assert f"with version {first.versions[0]}" in ended.text
    assert "3 texts" in ended.text
    table = pq.read_table(target).to_pydict()
    assert table["source_file"] == ["a.csv", "a.csv", "b.csv"]
    assert table["id"] == ["7", "3", "5"]
    assert table["predicted_label"] == ["positive", "negative", "negative"]


def test_tensorboard_shows_the_training_with_its_settings_and_metrics(project, first):
    summary = json.loads((project.folder / "out/toy/summary.json").read_text())
    with board(project) as shown:
        day = re.search(r"run-1_(\d{4}-\d\d-\d\d)", shown.told)[1]
        name = f"run-1_{day}_version-{first.versions[0]}"
        assert sorted(shown.ask("data/runs")) == [name, f"{name}/train"]
        tags = shown.ask("data/plugin/scalars/tags")
        assert sorted(tags[f"{name}/train"]) == ["accuracy", "examples_per_second", "learning_rate", "loss"]
        ((_, step, accuracy),) = shown.ask(f"data/plugin/scalars/scalars?run={name}&tag=evaluation/accuracy")
        assert step == 12 * 19  # epochs, and batches of 8 of 148 texts
        assert accuracy == pytest.approx(summary["metrics"]["accuracy"], abs=1e-6)
        (group,) = shown.sessions()
        assert (group["name"], group["hparams"]["training.learning_rate"]) == (name, 3e-3)


@pytest.mark.slow
def test_edited_tokenizer_reruns_transform_and_what_follows(project, stricter):
    project.edit("modules/bert_text.py", lambda text: text + "\n# edited\n")
    ended = project.run()
    assert ended.state("ExampleGen") == "cached"
    assert [ended.state(node) for node in ("Transform", "Trainer", "Evaluator")] == ["ran"] * 3


def test_tfx_does_not_pack_itself_for_workers_that_are_not_there():
    # Else it copies and packs its 49 MB before each component of Beam.
    assert dependency_utils.make_beam_dependency_flags(list(BEAM_ARGS)) == list(BEAM_ARGS)
