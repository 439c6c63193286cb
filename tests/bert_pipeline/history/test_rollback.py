"""Rollback: the version before under a new number, recorded, and not undone by the next run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import standard_artifacts

from bert_pipeline.components.baseline_resolver import ModelInServiceStrategy
from bert_pipeline.metadata.run_history import read_history
from bert_pipeline.serving_folder import atomic_push
from bert_pipeline.serving_folder.served import served_versions
from tests.bert_pipeline.components import test_pusher
from tests.bert_pipeline.past import Past


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


def weights(past: Past, version: int) -> str:
    folder = past.paths.push_destination / str(version) / "variables"
    return (folder / "variables.data-00000-of-00001").read_text()


def baseline(past: Past, candidate: int) -> list[int]:
    """What the resolver of the next run finds."""
    inputs = {}
    for key, kind in (("model", standard_artifacts.Model), ("pushed_model", standard_artifacts.PushedModel)):
        inputs[key] = []
        for found in past.store.get_artifacts_by_type(kind.TYPE_NAME):
            artifact = kind()
            artifact.set_mlmd_artifact(found)
            inputs[key].append(artifact)
    inputs["candidate"] = [a for a in inputs["model"] if a.id == candidate]
    strategy = ModelInServiceStrategy(str(past.paths.push_destination))
    return [a.id for a in strategy.resolve_artifacts(past.store, inputs)["model"]]


def test_version_before_is_in_service_again_under_a_new_number(past, capsys):
    first, one = past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    assert past.verb("rollback", "--reason", "worse on men's shoes") == 0
    three = past.versions()[-1]
    assert past.versions() == [one, two, three]
    assert [weights(past, v) for v in past.versions()] == ["a", "b", "a"]
    provenance = served_versions(past.paths.push_destination)[-1].provenance
    assert provenance["copy of version"] == str(one)
    assert provenance["reason"] == "worse on men's shoes"
    assert provenance["model artifact"] == str(first)
    assert f"version {three} is in service, a copy of {one}" in capsys.readouterr().out


def test_rollback_is_an_execution_with_its_reason_in_metadata(past):
    first, one = past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    past.verb("rollback", "--reason", "late at night")
    history = read_history(past.store, task="toy")
    execution = list(history.executions.values())[-1]
    assert (execution.node, execution.state, execution.inputs) == (
        "Rollback",
        "COMPLETE",
        {"model": (first,)},
    )
    assert execution.properties["reason"] == "late at night"
    assert (execution.properties["from_version"], execution.properties["to_version"]) == (str(two), str(one))
    (push,) = execution.outputs["pushed_model"]
    assert history.artifacts[push].properties["pushed_version"] == str(past.versions()[-1])
    assert [run.number for run in history.runs] == [1, 2]  # a rollback is no run


def test_lineage_of_the_copy_is_that_of_the_model(past, capsys):
    first, one = past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    past.verb("rollback", "--reason", 'a "drill"\n  model       7')
    capsys.readouterr()
    past.verb("lineage")
    text = capsys.readouterr().out
    assert f"toy, in service, the same model as {one}\n" in text
    assert f'copy of     version {one}, by rollback: a "drill" model 7\n' in text
    assert f"  model       {first}  " in text


def test_next_run_is_compared_with_the_model_that_is_really_in_service(past):
    first, _ = past.run(span=1, weights="a")
    second, _ = past.run(span=2, weights="b")
    past.verb("rollback")
    third, _ = past.run(span=3, weights="c", push=False)
    assert baseline(past, third) == [first]
    assert baseline(past, second) == [first]  # the repeated run: as at its first evaluation, and so cached
    assert baseline(past, first) == []


def test_repeated_run_does_not_push_the_withdrawn_model_again(past, tmp_path):
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    past.verb("rollback", "--reason", "worse on men's shoes")
    versions = past.versions()
    pushed = push_again(past, tmp_path / "repeated", "b")
    assert past.versions() == versions
    assert pushed.get_int_custom_property("in_service") == 0
    reason = pushed.get_string_custom_property("reason")
    assert f"not pushed: this very model was in service as version {two} and was rolled back on 20" in reason
    assert (
        f"(worse on men's shoes); change the task or the data, or put it back: make rollback TASK=toy VERSION={two}"
        in (reason)
    )
    assert push_again(past, tmp_path / "other", "c").get_int_custom_property("pushed") == 1


def push_again(past: Past, folder: Path, content: str):
    """What the Pusher says of a model with these weights."""
    run = test_pusher.Run(folder, weights=content.encode())
    return run.do(str(past.paths.push_destination))


def test_withdrawn_model_can_be_put_back_and_is_then_pushed_like_any_other(past, tmp_path):
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    past.verb("rollback")
    assert past.verb("rollback", "--to", str(two)) == 0
    assert weights(past, past.versions()[-1]) == "b"
    assert json.loads((past.paths.push_destination / ".withdrawn.json").read_text()) == {}
    assert "already" in push_again(past, tmp_path / "same", "b").get_string_custom_property("reason")


def test_second_rollback_goes_on_back_and_the_third_finds_nothing(past, capsys):
    _, one = past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    past.run(span=3, weights="c")
    assert [past.verb("rollback"), past.verb("rollback")] == [0, 0]
    assert [weights(past, v) for v in past.versions()] == ["a", "b", "c", "b", "a"]
    assert past.verb("rollback") == 2
    assert f"there is no version before {one}; versions: " in capsys.readouterr().err
    assert len(past.versions()) == 5


def test_rollback_from_a_later_push_skips_what_was_withdrawn(past):
    past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    past.verb("rollback")
    past.run(span=3, weights="c")
    past.verb("rollback")
    assert [weights(past, v) for v in past.versions()] == ["a", "b", "a", "c", "a"]


def test_clock_that_went_back_gives_no_lower_version(past, monkeypatch):
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    monkeypatch.setattr(atomic_push.time, "time", lambda: 1000.0)
    past.verb("rollback")
    third, version = past.run(span=3, weights="c")
    assert past.versions()[-2:] == [two + 1, two + 2]
    assert version == two + 2
    newer, _ = past.run(span=4, weights="d", push=False)
    assert baseline(past, newer) == [third]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("7", "--to is '7', and there is no such version; versions: ["),
        ("newest", "--to is 'newest', and there is no such version"),
        ("in service", "in service is the very model of version"),
    ],
)
def test_impossible_rollback_changes_nothing(past, capsys, to, message):
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    before, executions = past.versions(), len(past.store.get_executions())
    assert past.verb("rollback", "--to", str(two) if to == "in service" else to) == 2
    assert message in capsys.readouterr().err
    assert (past.versions(), len(past.store.get_executions())) == (before, executions)


def test_failed_copy_is_recorded_and_leaves_what_is_in_service(past, monkeypatch, capsys):
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_push, "_copy_file", full)
    assert past.verb("rollback") == 2
    assert (
        f"error: the copy failed: [Errno 28] No space left on device; version {two} stays in service"
        in capsys.readouterr().err
    )
    assert past.versions()[-1] == two
    assert [path.name for path in past.paths.push_destination.iterdir() if not path.name.isdigit()] == []
    assert past.store.get_executions()[-1].last_known_state == pb.Execution.FAILED
