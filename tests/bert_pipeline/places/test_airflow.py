"""A task under a real Airflow: its push, a killed scheduler, a refusal, spans by date; `make test-airflow`, minutes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.places import postgres_server
from bert_pipeline.settings import config
from tests.bert_pipeline.places.airflows import LocalAirflow, children, local_airflow, span_of, wait_for

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(2400)]

TOY = (config.TASKS_DIR / "toy.toml").read_text(encoding="utf-8")
# Without bulk inference: five steps fewer.
SHORT = TOY.partition("[bulk_inference]")[0]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the user of PostgreSQL may enter; pytest's own are for one user."""
    path = Path(tempfile.mkdtemp(prefix="bert-airflow-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def airflow(folder: Path) -> Iterator[LocalAirflow]:
    with local_airflow(folder, "toy") as running:
        yield running


def task_file(folder: Path, name: str, text: str) -> str:
    """A task file with the toy's schema beside it."""
    text = text.replace('name = "toy"', f'name = "{name}"')
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    shutil.copy(config.TASKS_DIR / "toy.schema.pbtxt", folder / f"{name}.schema.pbtxt")
    return str(folder / f"{name}.toml")


def test_a_run_pushes_though_its_scheduler_is_killed_in_the_training(airflow: LocalAirflow) -> None:
    airflow.trigger("toy", "first")
    wait_for(lambda: airflow.tasks("toy", "first")["Trainer"]["state"] == "running", seconds=900)
    time.sleep(8)  # in the middle of it: TensorFlow is loaded
    os.kill(airflow.process("scheduler"), signal.SIGKILL)
    assert airflow.ended("toy", "first") == "success"
    assert "restart   scheduler ended with -9" in airflow.said
    tasks = airflow.tasks("toy", "first")
    assert {task["state"] for task in tasks.values()} == {"success"}
    tries = {name: task["try_number"] for name, task in tasks.items()}
    assert tries.pop("Trainer") == 2 and set(tries.values()) == {1}
    [version] = airflow.versions("toy")
    assert f"pushed as version {version}" in airflow.log("toy", "first", "Finish")
    if postgres_server.what_lacks(airflow.home / "postgres") == "":
        assert re.fullmatch(r"postgresql://bert@127\.0\.0\.1:\d+/ml_metadata", airflow.metadata)


def test_branches_run_side_by_side(airflow: LocalAirflow) -> None:
    tasks = airflow.tasks("toy", "first")
    spans = [span_of(tasks[name]) for name in ("Evaluator", "InfraValidator")]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans)


def test_the_same_again_comes_from_the_cache(airflow: LocalAirflow) -> None:
    before = airflow.versions("toy")
    airflow.trigger("toy", "again")
    assert airflow.ended("toy", "again") == "success"
    assert airflow.versions("toy") == before
    assert re.search(r"^  Trainer +cached$", airflow.log("toy", "again", "Trainer"), re.MULTILINE)
    spans = {name: span_of(task) for name, task in airflow.tasks("toy", "again").items()}
    seconds = max(end for _, end in spans.values()) - min(begin for begin, _ in spans.values())
    each = ", ".join(f"{name} {end - begin:.1f}" for name, (begin, end) in spans.items())
    began = time.monotonic()
    local = airflow.verb(
        "pipeline", "--task", "toy", "--out", str(airflow.out), "--metadata", airflow.metadata
    )
    assert local.returncode == 0, local.stderr
    print(f"\ncached: Airflow {seconds:.1f} s, `make pipeline` {time.monotonic() - began:.1f} s\n{each}")


def test_a_refused_model_fails_the_run_and_finish_says_why(airflow: LocalAirflow, folder: Path) -> None:
    text = SHORT.replace("epochs = 12", "epochs = 1").replace("learning_rate = 3e-3", "learning_rate = 1e-6")
    airflow.add(task_file(folder, "refused", text))
    airflow.trigger("refused", "one")
    assert airflow.ended("refused", "one") == "failed"
    states = {name: task["state"] for name, task in airflow.tasks("refused", "one").items()}
    assert {name for name, state in states.items() if state != "success"} == {"Finish"}
    assert airflow.versions("refused") == []
    said = airflow.log("refused", "one", "Finish")
    assert "verdict   REFUSED; what was in service stays" in said
    assert re.search(r"^ +accuracy on all data is 0\.\d+, below the bound 0\.80 ", said, re.MULTILINE), said


def test_a_back_fill_reads_the_span_of_each_date(airflow: LocalAirflow, folder: Path) -> None:
    data = folder / "dated-data"
    for date in ("2026-11-24", "2026-11-25"):
        (data / date).mkdir(parents=True)
        for split in ("train", "eval"):
            shutil.copy(config.PROJECT_ROOT / f"data/toy/{split}.csv", data / date)
    text = SHORT.replace('path = "data/toy"', f'path = "{data}"')
    for split in ("train", "eval"):
        text = text.replace(f'"{split}.csv"', f'"{{YYYY}}-{{MM}}-{{DD}}/{split}.csv"')
    airflow.add(task_file(folder, "dated", text))
    day = "T00:00:00Z"
    asked = {"dag_id": "dated", "from_date": f"2026-11-24{day}", "to_date": f"2026-11-25{day}"}
    airflow.api("POST", "/backfills", asked | {"max_active_runs": 1, "reprocess_behavior": "none"})
    wait_for(lambda: len(airflow.runs("dated")) == 2, seconds=120)
    runs = {run["logical_date"][:10]: name for name, run in airflow.runs("dated").items()}
    assert sorted(runs) == ["2026-11-24", "2026-11-25"]
    for date, run in sorted(runs.items()):
        assert airflow.ended("dated", run) == "success"
        said = airflow.log("dated", run, "Finish")
        assert f"data      trained on span {date}; evaluated on span {date}" in said
    first, second = (airflow.tasks("dated", runs[date]) for date in sorted(runs))
    assert span_of(first["Finish"])[1] <= span_of(second["Begin"])[0]
    older = {run: airflow.log("dated", run, "OlderSpans") for run in runs.values()}
    assert "skipped" in older[runs["2026-11-24"]] and "skipped" not in older[runs["2026-11-25"]]


def test_the_end_leaves_no_process(folder: Path, airflow: LocalAirflow) -> None:
    own = children(airflow.launcher.pid)
    assert len(own) >= 3
    airflow.launcher.send_signal(signal.SIGINT)
    assert airflow.launcher.wait(90) == 0
    assert [process for process in own if Path(f"/proc/{process}").exists()] == []
