"""A component's disk is full: one sentence, nothing half, and the same command goes on when there is room."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.__main__ import main
from bert_pipeline.new_task import new_task
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.new_tasks import Project as NewTasks
from tests.bert_pipeline.new_tasks import reviews, write_csv
from tests.bert_pipeline.projects import Ended, Project
from tests.small_disks import fill, mounted

FULL = "the disk is full (No space left on device); free some room, and give the same command again"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The toy, trained for a moment; its model is pushed whatever it learned."""
    made = Project(tmp_path_factory.mktemp("project"))
    made.edit(
        "bert_pipeline/tasks/toy.toml",
        lambda text: (
            re.sub(r"\nmin = 0\.[68]", "\nmin = 0.0", text)
            .replace("epochs = 12", "epochs = 1")
            .replace("[evaluation]", "[report]\nexamples = 0\n\n[evaluation]")
        ),
    )
    return made


@contextlib.contextmanager
def full(project: Project, *nodes: str) -> Iterator[list[Path]]:
    """The components' folders of artifacts, each a disk of its own without room."""
    with contextlib.ExitStack() as stack:
        folders = [project.folder / "out" / "toy" / "artifacts" / node for node in nodes]
        fillers = []
        for folder in folders:
            before = [path.name for path in folder.iterdir()] if folder.exists() else []
            assert before == [], "what lies there would be hidden"
            stack.enter_context(mounted(folder, "size=64k"))
            fillers.append(fill(folder))
        yield folders
        for folder, filler in zip(folders, fillers, strict=True):
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert files == [filler], f"something half is left: {files}"


@pytest.mark.parametrize("place", ["data", "tasks"])
@pytest.mark.parametrize("again", [False, True], ids=["new", "over an old one"])
def test_new_task_on_a_full_disk_leaves_nothing_and_the_same_command_works_later(
    tmp_path: Path, place: str, again: bool
) -> None:
    """JSON lines, which are converted: the task file and the data each on a disk of its own."""
    records = [{"comment": row["comment"], "stars": row["stars"]} for row in reviews(400)]
    source = tmp_path / "reviews.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "project").mkdir()
    made = NewTasks(tmp_path / "project")
    with mounted(getattr(made, place), "size=400k") as disk:
        if again:
            made.new_task(source, label="stars")
        before = contents(tmp_path)
        filler = fill(disk)
        with pytest.raises(
            UserError, match="^the disk is full: .*mine.* could not be written; free some room"
        ):
            made.new_task(source, label="stars", force=again)
        filler.unlink()
        assert contents(tmp_path) == before
        assert made.new_task(source, label="stars", force=again).task.data.label == "stars"
        assert len((made.data / "mine" / "all.csv").read_text().splitlines()) == 401


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "error",
    [
        "database or disk is full",
        "ExampleGen stopped the run: the disk is full (No space left on device); free",
    ],
)
def test_new_task_whose_schema_finds_no_room_says_what_is_there_and_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: str
) -> None:
    """The same command again would be refused: the task is there."""

    def no_room(name: str, *, out: Path) -> None:
        raise UserError(error)

    write_csv(tmp_path / "reviews.csv", reviews())
    monkeypatch.setattr(new_task, "_write_schema", no_room)
    monkeypatch.setattr(new_task, "write_task", lambda name, **_: tmp_path / f"{name}.toml")
    words = [
        "new-task",
        "--name",
        "mine",
        "--data",
        str(tmp_path / "reviews.csv"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"\nerror: the disk of {tmp_path}/o is full, so that no schema was inferred; {tmp_path}/mine.toml is written "
        f"and stays: free some room, then python -m bert_pipeline pipeline --task mine --out {tmp_path}/o, which "
        "begins with the schema\n"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_disks_one_after_the_other(project: Project) -> None:
    with full(project, "ExampleGen"):
        ended = project.run()
    assert ended.status == 2
    assert re.search(rf"^error: ExampleGen stopped the run: {re.escape(FULL)}$", ended.text, re.MULTILINE), (
        ended.text
    )
    assert "Traceback" not in ended.text

    with full(project, "Coverage", "BulkInferrer"):
        ended = project.run()
    assert_pushed_without(ended, failed=("Coverage", "BulkInferrer"), skipped=("LabelledTable",))
    assert ended.state("ExampleGen") == "ran"

    with full(project, "LabelledTable"):
        ended = project.run()
    assert_pushed_without(ended, failed=("LabelledTable",), skipped=())
    assert [ended.state(node) for node in ("Trainer", "Coverage", "BulkInferrer")] == ["cached", "ran", "ran"]

    ended = project.run()
    assert ended.status == 0, ended.text
    assert "warning" not in ended.text
    assert [ended.state(node) for node in ("Coverage", "BulkInferrer", "LabelledTable")] == [
        "cached",
        "cached",
        "ran",
    ]
    [table] = re.findall(r"^labelled  (.*)$", ended.text, re.MULTILINE)
    texts = (project.folder / "data/toy/unlabelled.csv").read_text().strip().splitlines()
    assert len(Path(table).read_text().strip().splitlines()) == len(texts)


def assert_pushed_without(ended: Ended, *, failed: tuple[str, ...], skipped: tuple[str, ...]) -> None:
    """The model is in service; each component that failed says why, in one line."""
    assert ended.status == 0, ended.text
    assert len(ended.versions) == 1
    for node in failed:
        assert f"warning   {node} failed: {FULL}; the push is not affected" in ended.text
    for node in skipped:
        assert f"warning   {node} skipped: what it needs failed; the push is not affected" in ended.text
    assert "Traceback" not in ended.text
