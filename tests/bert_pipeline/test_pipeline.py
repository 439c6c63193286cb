"""The graph end to end, on the toy, by the command that people type.

Each fixture is one run of the command in a copy of the project; they follow each other on one output folder.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import matplotlib.image as mpl_image
import pyarrow.parquet as pq
import pytest

from tests.bert_pipeline.pages import CHROMIUM, SECTIONS, Page, screenshot

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("bert_pipeline", "modules", "serving", "data/toy")

EVERY_COMPONENT = [
    "ExampleGen", "StatisticsGen", "Schema", "ExampleValidator", "Transform", "Trainer", "Baseline",
    "Evaluator", "InfraValidator", "Pusher", "UnlabelledExampleGen", "ServingValidator",
    "BulkInferrer", "LabelledTable", "Coverage",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a run printed and left."""

    status: int
    text: str
    versions: list[str]

    def state(self, node: str) -> str:
        line = re.search(rf"^  {node} +(cached|[\d.]+ s)(.*)$", self.text, re.MULTILINE)
        assert line, f"{node} is not in:\n{self.text}"
        return "failed" if "FAILED" in line[2] else "cached" if line[1] == "cached" else "ran"


class Project:
    """A copy of the project with an output folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.task_file = folder / "bert_pipeline" / "tasks" / "toy.toml"
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{folder / 'modules'}:{folder}",
            "BERT_PIPELINE_CACHE": str(folder / "cache"),
            "PIP_NO_INDEX": "1",  # packaging the user modules must need no index
        }

    def start(self, *arguments: str, verb: str = "pipeline") -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", "-m", "bert_pipeline", verb, "--task", "toy", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, verb: str = "pipeline") -> Ended:
        process = self.start(*arguments, verb=verb)
        text, _ = process.communicate(timeout=600)
        return Ended(process.returncode, text, self.versions())

    def run_until(self, pattern: str, *arguments: str) -> str:
        """Runs until a line matches, then kills the whole process group with SIGKILL."""
        process = self.start(*arguments)
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if re.search(pattern, line):
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "".join(lines)

    def versions(self) -> list[str]:
        base = self.folder / "out" / "toy" / "serving" / "toy"
        return sorted(p.name for p in base.iterdir()) if base.exists() else []

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / name
        old = path.read_text(encoding="utf-8")
        new = change(old)
        assert new != old
        path.write_text(new, encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def first(project: Project) -> Ended:
    return project.run()


@pytest.fixture(scope="module")
def second(project: Project, first: Ended) -> Ended:
    return project.run()


@pytest.fixture(scope="module")
def stricter(project: Project, second: Ended) -> Ended:
    """The same model under a bound that it cannot keep, with unlabelled texts that cannot be read."""
    project.edit("bert_pipeline/tasks/toy.toml", lambda text: text.replace("min = 0.8\n", "min = 1.1\n"))
    project.edit("data/toy/unlabelled.csv", lambda text: text + "one,two,three\n")
    ended = project.run()
    project.edit("bert_pipeline/tasks/toy.toml", lambda text: text.replace("min = 1.1\n", "min = 0.8\n"))
    return ended


def test_first_run_passes_through_every_component_and_pushes(first):
    assert first.status == 0, first.text
    assert [first.state(node) for node in EVERY_COMPONENT] == ["ran"] * len(EVERY_COMPONENT)
    assert len(first.versions) == 1
    assert f"pushed as version {first.versions[0]}" in first.text


def test_summary_names_slices_the_model_and_the_next_command(first):
    assert re.search(r"^all data +50 +[01]\.\d{3} +[01]\.\d{3}$", first.text, re.MULTILINE)
    assert re.search(r"^part=sole +\d+ +[01]\.\d{3}", first.text, re.MULTILINE)
    assert f"serving/toy/{first.versions[0]}" in first.text
    assert "next      make serve TASK=toy" in first.text


def test_terminal_shows_no_log_of_a_library(first):
    noise = [
        line for line in first.text.splitlines() if re.match(r"(WARNING|INFO|[IWE]\d{4}|\d{4}-\d\d-)", line)
    ]
    assert noise == []


def test_pushed_model_holds_its_warm_up_requests(project, first):
    pushed = project.folder / "out/toy/serving/toy" / first.versions[0]
    assert (pushed / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


def test_summary_is_written_for_programs(project, second):
    summary = json.loads((project.folder / "out/toy/summary.json").read_text())
    assert summary["task"] == "toy"
    assert 0.8 <= summary["metrics"]["accuracy"] <= 1


def test_identical_second_run_does_nothing_and_says_so(first, second):
    assert second.status == 0, second.text
    done = [node for node in EVERY_COMPONENT if node not in ("Baseline", "Pusher")]
    assert [second.state(node) for node in done] == ["cached"] * len(done)
    assert second.versions == first.versions
    assert "nothing was trained, evaluated or pushed" in second.text


def test_changed_bound_evaluates_again_and_trains_nothing(stricter):
    assert [stricter.state(node) for node in ("Transform", "Trainer", "Evaluator")] == [
        "cached",
        "cached",
        "ran",
    ]


def test_refused_model_leaves_what_is_in_service_and_names_the_bound(first, stricter):
    assert stricter.status == 1, stricter.text
    assert stricter.versions == first.versions
    assert "verdict   REFUSED" in stricter.text
    assert re.search(r"accuracy on all data is \d\.\d+, below the bound 1\.10 \(by 0\.\d+\)", stricter.text)


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


def report_path(ended: Ended) -> Path:
    line = re.search(r"^report    (.*/index\.html)$", ended.text, re.MULTILINE)
    assert line, ended.text
    return Path(line[1])


def report_of(ended: Ended) -> Page:
    return Page(report_path(ended).read_text(encoding="utf-8"))


def test_report_of_a_run_has_every_section_and_says_what_the_summary_says(project, second):
    page, summary = report_of(second), json.loads((project.folder / "out/toy/summary.json").read_text())
    assert page.sections == SECTIONS
    assert page.problems == []
    assert page.landmarks == ["header", "nav", "main", "footer"]
    assert '<html lang="en">' in page.text
    assert "<title>Pushed: toy, run 1</title>" in page.text
    assert f"Pushed as version {second.versions[0]}." in page.text
    slices = {"all data": summary, **summary["slices"]}
    for name, found in slices.items():
        row = page.row("accuracy by slice", name)
        assert row[:2] == [str(found["num_examples"]), f"{found['metrics']['accuracy']:.3f}"]
    assert page.row("macro F1 by slice", "all data")[1] == f"{summary['metrics']['macro_f1']:.3f}"
    texts = page.tables["Texts by split and span"]
    assert [row[:2] for row in texts[1:]] == [["train", "148"], ["eval", "50"]]
    assert len(page.tables["Each epoch"]) == 1 + 12
    assert page.row("Every setting of the task", "training.batch_size") == ["8"]
    lineage = page.tables["Lineage in words"]
    assert {row[2].split()[0] for row in lineage if row[1] == "Trainer"} == {"Model"}
    confusion = page.tables["Examples by true and answered label"]
    assert sum(int(cell) for row in confusion[1:] for cell in row[1:3]) == 50
    assert sum(int(row[1]) for row in page.tables["Calibration"][1:]) == 50


def test_identical_run_leaves_the_report_of_the_model_in_service(project, first, second):
    assert report_path(second) == report_path(first)


def test_refused_run_has_a_report_with_its_reasons_and_it_is_the_newest(project, stricter):
    page = report_of(stricter)
    assert page.problems == []
    assert "<title>Refused: toy, run 3</title>" in page.text
    assert "below the bound 1.10" in page.text
    assert "UnlabelledExampleGen failed; the push is not affected" in page.text
    card = report_path(stricter).with_name("model_card.md").read_text()
    assert "- state: refused: it was never in service\n" in card
    assert re.search(r"^- A gate refused it: accuracy on all data is .*1\.10", card, re.MULTILINE)


def test_model_card_travels_with_the_pushed_version(project, first):
    extra = project.folder / "out/toy/serving/toy" / first.versions[0] / "assets.extra"
    card = (extra / "model_card.md").read_text(encoding="utf-8")
    assert card == report_path(first).with_name("model_card.md").read_text(encoding="utf-8")
    assert f"- state: pushed as version {first.versions[0]}\n" in card
    heads = re.findall("^## (.*)$", card, re.MULTILINE)
    assert heads[:4] == [
        "Model details",
        "Uses",
        "Bias, risks, and limitations",
        "How to get started with the model",
    ]
    assert "| all data | 50 | " in card
    assert "| batch_size | 8 |" in card


@pytest.mark.slow
def test_report_verb_writes_an_older_run_anew_and_leaves_the_newest(project, first, stricter):
    newest = project.folder / "out/toy/report.html"
    before = newest.read_text(encoding="utf-8")
    report_path(first).unlink()
    ended = project.run("1", "--no-open", verb="report")
    assert ended.status == 0, ended.text
    assert report_path(ended) == report_path(first)
    assert "Pushed: toy, run 1" in report_of(ended).text
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
        assert screenshot(report_path(second), shot, *flags) == ""
        image = mpl_image.imread(shot)
        corners[name] = [round(float(value), 2) for value in image[2, 2, :3]]
        assert (
            len({tuple(pixel) for pixel in image[::7, ::7, :3].reshape([-1, 3]).round(2)}) > 20
        )  # not blank
    assert corners["light"] == corners["narrow"] == [1.0, 1.0, 1.0]
    assert max(corners["dark"]) < 0.2


def test_label_verb_labels_a_folder_with_the_model_in_service(project, first, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.csv").write_text("id,text\n7,i love this sole\n3,my heel is poor\n")
    (tmp_path / "texts" / "b.csv").write_text("id,text\n5,not a good fit\n")
    target = tmp_path / "labelled.parquet"
    ended = project.run("--texts", str(tmp_path / "texts"), "--to", str(target), verb="label")
    assert ended.status == 0, ended.text
    assert f"with version {first.versions[0]}" in ended.text
    assert "3 texts" in ended.text
    table = pq.read_table(target).to_pydict()
    assert table["source_file"] == ["a.csv", "a.csv", "b.csv"]
    assert table["id"] == ["7", "3", "5"]
    assert table["predicted_label"] == ["positive", "negative", "negative"]


def _asked(address: str, path: str, **body: object) -> object:
    """TensorBoard's answer, asked again while it has not read the folder yet."""
    data = json.dumps(body).encode() if body else None
    for _ in range(100):
        request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
        with (
            contextlib.suppress(urllib.error.HTTPError),
            urllib.request.urlopen(request, timeout=30) as answer,
        ):
            content = answer.read()
            if found := json.loads(content) if content[:1] in b"[{" else content.decode():
                return found
        time.sleep(0.1)
    raise AssertionError(f"{path} stays empty")


def test_tensorboard_shows_the_training_with_its_graph_settings_and_texts(project, first):
    process = project.start("--port", "0", verb="tensorboard")
    try:
        told, found = "", None
        for line in process.stdout:
            told += line
            if found := re.search(r"TensorBoard at (http://127\.0\.0\.1:\d+/)", line):
                break
        assert "graph, projector of 50 eval texts" in told, told
        day = re.search(r"run-1_(\d{4}-\d\d-\d\d)", told)[1]
        name = f"run-1_{day}_version-{first.versions[0]}"
        runs = _asked(found[1], "data/runs")
        assert sorted(runs) == [".", name, f"{name}/eval", f"{name}/train"]
        tags = _asked(found[1], "data/plugin/scalars/tags")
        assert sorted(tags[f"{name}/train"]) == ["accuracy", "examples_per_second", "learning_rate", "loss"]
        summary = json.loads((project.folder / "out/toy/summary.json").read_text())
        ((_, step, accuracy),) = _asked(
            found[1], f"data/plugin/scalars/scalars?run={name}&tag=evaluation/accuracy"
        )
        assert step == 12 * 19  # epochs, and batches of 8 of 148 texts
        assert accuracy == pytest.approx(summary["metrics"]["accuracy"], abs=1e-6)
        assert _asked(found[1], "data/plugin/graphs/info")[name]["run_graph"] is True
        graph = _asked(found[1], f"data/plugin/graphs/graph?run={name}")
        assert "serving_default/classify/bert_classifier/encoder/encode/layer_1/attention" in graph
        question = {
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN"],
            "colParams": [],
            "sliceSize": 9,
        }
        (group,) = _asked(found[1], "data/plugin/hparams/session_groups", **question)["sessionGroups"]
        assert (group["name"], group["hparams"]["training.learning_rate"]) == (name, 3e-3)
        assert _asked(found[1], "data/plugin/projector/runs") == [name]
        (tensor,) = _asked(found[1], f"data/plugin/projector/info?run={name}")["embeddings"]
        assert (tensor["tensorName"], tensor["tensorShape"]) == ("pooled_output", [50, 32])
        texts = _asked(found[1], f"data/plugin/projector/metadata?run={name}&name=pooled_output").splitlines()
        assert texts[0] == "predicted_label\tlabel\tpart\ttext"
        right = [row.split("\t")[0] == row.split("\t")[1] for row in texts[1:]]
        assert sum(right) / 50 == pytest.approx(summary["metrics"]["accuracy"])
    finally:
        process.kill()
        process.communicate()


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
def test_data_that_does_not_fit_stops_before_training(project, stricter, what, tmp_path):
    change, message = BROKEN_DATA[what]
    shutil.copytree(project.folder / "data" / "toy", tmp_path / "toy")
    train = tmp_path / "toy" / "train.csv"
    train.write_text(change(train.read_text()))
    ended = project.run("--data", str(tmp_path / "toy"))
    assert ended.status == 2
    assert re.search(message, ended.text), ended.text
    assert "Transform  " not in ended.text
    assert ended.versions == stricter.versions
    page = report_of(ended)
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
    ended = project.run()
    assert ended.status == 0, ended.text
    assert ended.state("Trainer") == "cached"
    assert len(ended.versions) == 1


@pytest.mark.slow
def test_edited_tokenizer_reruns_transform_and_what_follows(project, stricter):
    project.edit("modules/bert_text.py", lambda text: text + "\n# edited\n")
    ended = project.run()
    assert ended.state("ExampleGen") == "cached"
    assert [ended.state(node) for node in ("Transform", "Trainer", "Evaluator")] == ["ran"] * 3
