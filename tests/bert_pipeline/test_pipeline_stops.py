"""Runs that do not get to their end: data that does not fit the task, and processes that are killed."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.bert_pipeline.projects import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With version 7 in service, to stay."""
    made = Project(tmp_path_factory.mktemp("project"))
    (made.folder / "out/toy/serving/toy/7").mkdir(parents=True)
    return made


BROKEN_DATA = {
    "unknown label": (
        lambda text: re.sub("positive", "positiv", text, count=30),
        r"column label: label that the task does not know in 30 of \d+ examples .* for example 'positiv'\n"
        r"    fix at .*toy\.toml:\d+ \(data\.labels\)",
    ),
    "missing column": (
        lambda text: text.replace("text,label,part", "body,label,part"),
        r"column text: .*(?i:missing|dropped)",
    ),
    "share far off": (
        lambda text: "".join(line for line in text.splitlines(True) if ",negative," not in line),
        r"label 'negative' has a share of 0\.0% .* 50\.0% is expected.*\n"
        r"    fix at .*toy\.toml:\d+ \(data\.label_shares\)",
    ),
    "empty text": (
        lambda text: text + ",positive,sole\n" * 3,
        r"column text: empty text in 3 of \d+ examples",
    ),
}


@pytest.mark.parametrize(
    "what", [pytest.param(k, marks=[] if k == "unknown label" else pytest.mark.slow) for k in BROKEN_DATA]
)
def test_data_that_does_not_fit_stops_before_training(project, what, tmp_path):
    change, message = BROKEN_DATA[what]
    shutil.copytree(project.folder / "data" / "toy", tmp_path / "toy")
    train = tmp_path / "toy" / "train.csv"
    train.write_text(change(train.read_text()))
    ended = project.run("--data", str(tmp_path / "toy"))
    assert ended.status == 2
    assert re.search(message, ended.text), ended.text
    assert "Transform  " not in ended.text
    assert ended.versions == ["7"]
    page = ended.report
    assert page.problems == []
    assert "<title>Stopped: toy, run " in page.text
    assert "the data does not fit the task; nothing was trained." in page.text
    assert page.tables["What ran"][-1] == ["ExampleValidator", "failed"]


@pytest.mark.slow
def test_killed_runs_are_continued_from_the_last_finished_component(tmp_path):
    project = Project(tmp_path / "killed")
    project.run_until("^  ExampleValidator +[0-9.]+ s")  # in Transform
    text = project.run_until("^epoch 1/")  # in training
    assert re.search("^  ExampleGen +cached", text, re.MULTILINE)
    text = project.run_until("^  (InfraValidator|Evaluator) +[0-9.]+ s")
    assert re.search("^  Transform +cached", text, re.MULTILINE)
    assert project.versions() == []
    push = "version = push(source, base_dir=base_dir, provenance=self._provenance(input_dict))"
    kill = "; import os; os.kill(os.getpid(), 9)"  # in the copy of the project
    project.edit("bert_pipeline/components/pusher.py", lambda text: text.replace(push, push + kill))
    assert project.run().status == -9
    project.edit("bert_pipeline/components/pusher.py", lambda text: text.replace(kill, ""))
    [version] = project.versions()
    text = project.run(verb="compare").text
    assert f"was killed after it had pushed version {version}; its record is complete now" in text
    assert re.search(r"^outcome +.* pushed$", text, re.MULTILINE), text
    assert re.search(r"^accuracy, all data +.*1\.000$", text, re.MULTILINE), text
    extra = project.folder / "out/toy/serving/toy" / version / "assets.extra"
    card = (extra / "model_card.md").read_text()
    assert "the run was killed after its push; what comes after a push was left out" in card
    ended = project.run()
    assert ended.status == 0, ended.text
    assert (
        ended.state("Evaluator") == "cached"
    )  # it was compared with what was in service before it, as it was then
    assert f"unchanged: version {version} in service is this very model" in ended.text
    assert ended.versions == [version]
