"""A component's disk is full: one sentence, nothing half, and the same command goes on when there is room."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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
