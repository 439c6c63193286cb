"""gc removes what nobody needs, and never what is in service, its baseline, its lineage or the next run's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.history import gc
from bert_pipeline.metadata.run_history import flat, read_history
from tests.bert_pipeline.past import Past


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


@pytest.fixture
def long_past(past: Past) -> Past:
    """Five models: 1 and 2 pushed, 3 refused, 4 pushed, 5 in service; each compared with the one before."""
    first, _ = past.run(span=1, weights="a")
    second, _ = past.run(span=2, weights="b", baseline=first)
    past.run(span=2, weights="c", push=False, baseline=second)
    fourth, _ = past.run(span=3, weights="d", baseline=second)
    past.run(span=4, weights="e", baseline=fourth)
    return past


def alive(past: Past) -> dict[str, list[int]]:
    """Spans of the examples and runs of the models that are there, on disk and in ML Metadata."""
    history = read_history(past.store, task="toy")
    there = [a for a in history.artifacts.values() if a.state == "LIVE"]
    assert all(Path(a.uri).exists() == (a.state == "LIVE") for a in history.artifacts.values())
    producers = {a.id: history.producer(a.id) for a in there}
    return {
        "spans": sorted(int(a.properties["span"]) for a in there if "span" in a.properties),
        "models": sorted(history.run_of(producers[a.id].id).number for a in there if a.type == "Model"),
        "schemas": [a.id for a in there if a.type == "Schema"],
    }


def test_default_is_a_dry_run_that_says_what_and_how_much(long_past, capsys):
    before = sorted(long_past.out.rglob("[!.]*"))
    assert long_past.verb("gc", "--keep", "1") == 0
    text = capsys.readouterr().out
    one, two, four, five = long_past.versions()
    assert "nothing was removed; with --yes it is" in text
    assert f"version {one}  " in text
    assert f"version {two}  " in text
    assert f"  stays: version {four}, its baseline, with all that made it\n" in text
    assert f"  stays: version {five}, in service, with all that made it\n" in text
    assert "unreferenced items, 2 of them versions: 0.0 MB" in text
    assert sorted(long_past.out.rglob("[!.]*")) == before


def test_service_baseline_and_lineage_stay(long_past):
    _, _, four, five = long_past.versions()
    assert long_past.verb("gc", "--keep", "1", "--yes") == 0
    assert long_past.versions() == [four, five]
    found = alive(long_past)
    assert found == {"spans": [3, 4], "models": [4, 5], "schemas": [long_past.schema]}
    assert long_past.verb("gc", "--keep", "1", "--yes") == 0  # nothing more
    assert alive(long_past) == found


def test_more_versions_are_kept_with_what_made_them(long_past):
    long_past.verb("gc", "--keep", "3", "--yes")
    assert len(long_past.versions()) == 3
    assert alive(long_past)["models"] == [2, 4, 5]
    assert alive(long_past)["spans"] == [2, 3, 4]


def test_rollback_after_gc_still_has_where_to_go(long_past):
    long_past.verb("gc", "--keep", "1", "--yes")
    _, five = long_past.versions()
    assert long_past.verb("rollback") == 0
    newest = long_past.paths.push_destination / str(long_past.versions()[-1])
    assert (newest / "variables" / "variables.data-00000-of-00001").read_text() == "d"
    assert long_past.verb("gc", "--keep", "1", "--yes") == 0
    assert five not in long_past.versions()


def test_everything_of_the_run_of_the_model_in_service_stays_for_the_next_runs_cache(past):
    past.run(span=1, weights="a")
    past.run(span=2, weights="b", push=False)
    past.run(span=3, weights="c", push=False)
    past.verb("gc", "--keep", "1", "--yes")
    history = read_history(past.store, task="toy")
    states = [
        {history.artifacts[a].state for i in run.executions for a in flat(history.executions[i].outputs)}
        for run in history.runs
    ]
    assert states == [{"LIVE"}, {"DELETED"}, {"LIVE"}]


def test_span_that_is_only_compared_with_stays(past):
    """It was read in a small graph of its own, and the run of the model in service has its statistics only."""
    older = past.execute("", "ExampleGen", {}, {"examples": "Examples"}, span=1)["examples"]
    statistics = past.execute("", "StatisticsGen", {"examples": [older]}, {"statistics": "ExampleStatistics"})
    past.run(span=2, weights="a")
    run = past.store.get_contexts_by_type("pipeline_run")[-1].name
    past.execute(
        run, "ExampleValidator", {"reference": [statistics["statistics"]]}, {"anomalies": "ExampleAnomalies"}
    )
    past.run(span=3, weights="b", push=False)
    past.verb("gc", "--keep", "1", "--yes")
    assert alive(past)["spans"] == [1, 2, 3]


def test_base_model_of_a_warm_start_stays_and_its_own_past_does_not(past):
    first, _ = past.run(span=1, weights="a", push=False)
    past.run(span=2, weights="b", base_model=first)
    past.run(span=2, weights="c", push=False)
    past.verb("gc", "--keep", "1", "--yes")
    assert alive(past)["models"] == [1, 2, 3]
    assert alive(past)["spans"] == [2, 2]


def test_leftovers_of_killed_executions_go_and_other_files_stay(past):
    past.run(span=1, weights="a")
    leftover = past.paths.pipeline_root / "Trainer" / "model" / "99"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("x")
    (past.paths.root / "notes.txt").write_text("mine")
    past.verb("gc", "--yes")
    assert not leftover.exists()
    assert (past.paths.root / "notes.txt").exists()
    assert alive(past)["models"] == [1]


def test_what_somebody_put_there_stays(past):
    """A version that no run pushed, and folders beside those of the components."""
    past.run(span=1, weights="a")
    for name in ("serving/toy/5", "artifacts/Mine/model/7", "artifacts/Mine/.system", "artifacts/1/2/3"):
        (past.paths.root / name).mkdir(parents=True)
        (past.paths.root / name / "data").write_text("mine")
    past.run(span=2, weights="b")
    past.run(span=3, weights="c")
    assert past.verb("gc", "--keep", "1", "--yes") == 0
    assert past.versions() == [5, max(past.versions())]
    assert (past.paths.pipeline_root / "Mine/model/7/data").exists()
    assert (past.paths.pipeline_root / "Mine/.system/data").exists()
    assert (past.paths.pipeline_root / "1/2/3/data").exists()


def test_examples_of_a_window_lie_in_a_folder_each_and_stay(past):
    past.run(span=1, weights="a")
    [artifact] = [a for a in past.store.get_artifacts_by_type("Examples") if "/Transform/" in a.uri]
    folder = Path(artifact.uri)
    folder.rename(folder.with_name("aside"))
    folder.mkdir()
    folder.with_name("aside").rename(folder / "0")
    artifact.uri = str(folder / "0")
    past.store.put_artifacts([artifact])
    past.verb("gc", "--yes")
    assert (folder / "0" / "data").exists()


def test_removed_artifacts_and_pushes_are_deleted_in_metadata_and_lineage_still_tells_them(long_past, capsys):
    one = long_past.versions()[0]
    long_past.verb("gc", "--keep", "1", "--yes")
    capsys.readouterr()
    pushes = long_past.store.get_artifacts_by_type("PushedModel")
    states = {p.custom_properties["pushed_version"].string_value: p.state for p in pushes}
    assert states[str(one)] == pb.Artifact.DELETED
    assert long_past.verb("lineage", str(one)) == 0
    assert "[deleted]" in capsys.readouterr().out


def test_gc_that_was_killed_is_finished_by_the_next_one(long_past, monkeypatch):
    def killed(path: Path) -> None:
        if "artifacts" in path.parts:
            raise KeyboardInterrupt
        rmtree(path)

    rmtree = shutil.rmtree
    monkeypatch.setattr(gc.shutil, "rmtree", killed)
    assert long_past.verb("gc", "--keep", "1", "--yes") == 130
    marked = [a for a in long_past.store.get_artifacts() if a.state == pb.Artifact.MARKED_FOR_DELETION]
    assert marked  # no cache takes them any more
    monkeypatch.undo()
    assert long_past.verb("gc", "--keep", "1", "--yes") == 0
    assert alive(long_past)["models"] == [4, 5]


def test_output_folder_that_was_copied_is_left_alone(long_past, tmp_path, capsys):
    shutil.copytree(long_past.out, tmp_path / "copy")
    long_past.out = tmp_path / "copy"
    before = sorted(long_past.out.rglob("[!.]*"))
    assert long_past.verb("gc", "--keep", "1", "--yes") == 2
    assert "nothing is removed" in capsys.readouterr().err
    assert sorted(long_past.out.rglob("[!.]*")) == before


def test_unknown_model_in_service_stops_everything(long_past, capsys):
    (long_past.paths.push_destination / "9999999999").mkdir()
    assert long_past.verb("gc", "--keep", "1", "--yes") == 2
    assert "does not know the model of version 9999999999, which is in service" in capsys.readouterr().err
    assert len(long_past.versions()) == 5


def test_keeping_no_version_is_refused(long_past, capsys):
    assert long_past.verb("gc", "--keep", "0") == 2
    assert "--keep: '0' is not a whole number of at least 1" in capsys.readouterr().err


def test_nothing_in_service_means_that_artifacts_stay(past):
    past.run(span=1, weights="a", push=False)
    past.run(span=2, weights="b", push=False)
    past.verb("gc", "--keep", "1", "--yes")
    assert alive(past)["models"] == [1, 2]
