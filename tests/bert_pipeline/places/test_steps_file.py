"""A task's graph as a file for orchestrators: every step of every run, what it waits for, its command line."""

from __future__ import annotations

import datetime
import json
import shutil
import stat
from pathlib import Path

import pytest

from bert_pipeline.__main__ import main
from bert_pipeline.places import steps_file
from bert_pipeline.settings import config
from bert_pipeline.settings.errors import UserError

AFTER = {
    "Begin": [],
    "ExampleGen": ["Begin"],
    "StatisticsGen": ["ExampleGen"],
    "Schema": ["Begin"],
    "ExampleValidator": ["ExampleGen", "StatisticsGen", "Schema"],
    "Transform": ["ExampleGen", "Schema", "ExampleValidator"],
    "Trainer": ["Schema", "Transform"],
    "Baseline": ["Trainer"],
    "Evaluator": ["ExampleGen", "Trainer", "Baseline"],
    "InfraValidator": ["ExampleGen", "Trainer"],
    "Pusher": ["Trainer", "Evaluator", "InfraValidator"],
    "Coverage": ["ExampleGen", "Pusher"],
    "UnlabelledExampleGen": ["Pusher"],
    "ServingValidator": ["StatisticsGen", "Schema", "UnlabelledExampleGen"],
    "BulkInferrer": ["Trainer", "Evaluator", "UnlabelledExampleGen"],
    "LabelledTable": ["BulkInferrer"],
    "Finish": ["Coverage", "ServingValidator", "LabelledTable"],
}


def request(task: str = "toy", **more: object) -> steps_file.Request:
    return steps_file.Request(task=task, **{"out": Path("/runs"), **more})


def content(task: str = "toy", **more: object) -> dict:
    return json.loads(steps_file.as_json(request(task, **more)))


def after(graph: dict) -> dict[str, list[str]]:
    return {step["id"]: step["after"] for step in graph["steps"]}


def command(graph: dict, step: str) -> list[str]:
    return next(each["command"][1:] for each in graph["steps"] if each["id"] == step)


@pytest.fixture
def dated(tmp_path: Path) -> str:
    """The toy's task with a folder for each date."""
    text = (config.TASKS_DIR / "toy.toml").read_text(encoding="utf-8")
    for split in ("train", "eval"):
        text = text.replace(f'"{split}.csv"', f'"{{YYYY}}-{{MM}}-{{DD}}/{split}.csv"')
    (tmp_path / "dated.toml").write_text(text, encoding="utf-8")
    return str(tmp_path / "dated.toml")


def test_the_steps_are_those_of_the_graph_between_begin_and_finish() -> None:
    assert after(content()) == AFTER


def test_each_step_is_one_command_and_begin_alone_reads_what_a_run_is_asked_for() -> None:
    graph = content(overrides=("training.epochs=2",), metadata="mysql://ann@db/runs", window=1)
    place = ["--task", "toy", "--out", "/runs", "--metadata", "mysql://ann@db/runs"]
    node = ["-m", "bert_pipeline", "node"]
    assert command(graph, "Trainer") == [*node, "Trainer", "--run", "{run}", *place]
    asked = ["--window", "1", "--set=training.epochs=2"]
    assert command(graph, "Begin") == [*node, "Begin", "--run", "{run}", *place, *asked]
    assert graph["folder"] == str(config.PROJECT_ROOT)


def test_spans_by_date_are_asked_for_by_the_runs_date_and_wait_for_older_ones(dated: str) -> None:
    graph = content(dated)
    assert graph["spans_by_date"] is True
    assert command(graph, "Begin")[-1] == "--span={span}"
    assert command(graph, "Begin")[command(graph, "Begin").index("--task") + 1] == dated
    assert after(graph)["OlderSpans"] == ["ExampleGen"]
    assert after(graph)["Transform"] == ["Schema", "OlderSpans", "ExampleValidator"]
    fixed = content(dated, span=20270)
    assert fixed["spans_by_date"] is False and command(fixed, "Begin")[-2:] == ["--span", "20270"]


def test_a_first_date_makes_up_the_past_and_needs_a_schedule() -> None:
    start = datetime.date(2025, 7, 1)
    graph = content(schedule="@daily", start=start, retries=3)
    assert {key: graph[key] for key in ("schedule", "start", "catchup", "retries")} == {
        "schedule": "@daily", "start": "2025-07-01", "catchup": True, "retries": 3,
    }  # fmt: skip
    assert content()["catchup"] is False
    with pytest.raises(UserError, match=r"^--start is 2025-07-01, but there is no --schedule; give one, "):
        content(start=start)


def test_the_verb_writes_a_file_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "dags" / "toy.json"
    assert main(["dag", "--task", "toy", "--out", "/runs", "--to", str(file)]) == 0
    assert json.loads(file.read_text(encoding="utf-8"))["task"] == "toy"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["dag", "--task", "toy", "--start", "tomorrow"]) == 2
    assert "'tomorrow' is not a date; give one such as 2025-07-01" in capsys.readouterr().err


def test_data_of_another_folder_and_a_task_file_go_in_by_their_whole_path(tmp_path: Path) -> None:
    shutil.copytree(
        config.PROJECT_ROOT / "data/toy", tmp_path / "mine", ignore=shutil.ignore_patterns("enc*")
    )
    graph = content(data=str(tmp_path / "mine"))
    assert command(graph, "Begin")[-2:] == ["--data", str(tmp_path / "mine")]
