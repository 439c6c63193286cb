"""The crossing of two stacks sees what it is there for: a run that makes again, and answers that moved."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import cross_stacks

OUTPUT = """\
task toy: good or bad
  loading TensorFlow and TFX   80.8 s
  ExampleGen                 cached
  Trainer                    86.0 s
  Baseline                    0.1 s
"""


def test_a_component_that_ran_again_is_seen_and_one_that_always_runs_is_not() -> None:
    assert cross_stacks.made_again(OUTPUT) == {"Trainer"}


@pytest.mark.parametrize(
    ("cell", "faults"), [("0.500001", 0), ("0.6", 1), ("bad", 1)], ids=["alike", "moved", "no number"]
)
def test_answers_are_compared_cell_by_cell(tmp_path: Path, cell: str, faults: int) -> None:
    (tmp_path / "one.csv").write_text("text,good\nshoes,0.5\n")
    (tmp_path / "other.csv").write_text(f"text,good\nshoes,{cell}\n")
    assert len(cross_stacks.apart(tmp_path / "one.csv", tmp_path / "other.csv")) == faults


def test_a_missing_row_is_seen(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text,good\nshoes,0.5\n")
    (tmp_path / "other.csv").write_text("text,good\n")
    [fault] = cross_stacks.apart(tmp_path / "one.csv", tmp_path / "other.csv")
    assert fault.endswith("one.csv has 2 lines, " + str(tmp_path / "other.csv") + " 1")


def test_tables_are_in_the_order_of_their_runs(tmp_path: Path) -> None:
    for execution in ("9", "15", "100"):
        folder = tmp_path / "toy/artifacts/LabelledTable/table" / execution
        folder.mkdir(parents=True)
        (folder / "labelled.csv").write_text("")
    assert [path.parent.name for path in cross_stacks.labelled_tables(tmp_path)] == ["9", "15", "100"]


def test_a_run_that_fails_is_a_fault(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "print('no such thing'); raise SystemExit(2)"]
    assert cross_stacks._play("there", failing, tmp_path, may_run=set()) == [
        "there: status 2: ['no such thing']"
    ]


def test_an_output_folder_in_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy").mkdir()
    monkeypatch.setattr(sys, "argv", ["cross_stacks", "--other=python", f"--out={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        cross_stacks.main()
    assert end.value.code == 2
    assert f"--out: {tmp_path} is not empty; give a new folder" in capsys.readouterr().err


def test_what_one_side_makes_the_other_checks(tmp_path: Path) -> None:
    writer = [sys.executable, "-c", "import sys; print('made', *sys.argv[3:])"]
    reader = [sys.executable, "-c", "import sys; print('one differs', *sys.argv[3:]); sys.exit(1)"]
    assert cross_stacks._cross("here to there", writer, writer, tmp_path) == []
    [fault] = cross_stacks._cross("here to there", writer, reader, tmp_path)
    assert fault.startswith("here to there, check: status 1: ['one differs tests.crossing check ")
    assert fault.endswith(f" {tmp_path}']")
