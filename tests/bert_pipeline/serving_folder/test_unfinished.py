"""What killed processes left is put right by the next verb; the served folder is the truth."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import standard_artifacts

from bert_pipeline.components.baseline_resolver import ModelInServiceStrategy
from bert_pipeline.components.served_model_resolver import ServedModelStrategy
from bert_pipeline.history.compare import compare
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import read_history
from bert_pipeline.monitoring.served_model import find_served
from bert_pipeline.serving_folder import atomic_push, served, unfinished
from bert_pipeline.serving_folder.served import model_of_version, served_versions
from bert_pipeline.settings import paths
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.past import Past

# Random histories that are played; each has up to 12 steps.
NUM_HISTORIES = 12


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


def weights_of(folder: Path) -> str:
    return (folder / "variables" / "variables.data-00000-of-00001").read_text()


def in_service(past: Past) -> str:
    return weights_of(served_versions(past.paths.push_destination)[-1].folder)


def listed(past: Past) -> set[str]:
    """Weights of the withdrawn models."""
    of = {
        atomic_push.fingerprint(v.folder): weights_of(v.folder)
        for v in served_versions(past.paths.push_destination)
    }
    return {
        of.get(fingerprint, "removed since") for fingerprint in served.withdrawn(past.paths.push_destination)
    }


def channels(past: Past, *types: type) -> list[list]:
    """Live artifacts, as TFX hands them to a resolver."""
    found = []
    for kind in types:
        found.append([])
        for artifact in past.store.get_artifacts_by_type(kind.TYPE_NAME):
            if artifact.state == pb.Artifact.LIVE:
                found[-1].append(kind())
                found[-1][-1].set_mlmd_artifact(artifact)
    return found


def baseline(past: Past, candidate: int) -> list[int]:
    models, pushes = channels(past, standard_artifacts.Model, standard_artifacts.PushedModel)
    inputs = {"model": models, "pushed_model": pushes, "candidate": [m for m in models if m.id == candidate]}
    strategy = ModelInServiceStrategy(str(past.paths.push_destination))
    return [artifact.id for artifact in strategy.resolve_artifacts(past.store, inputs)["model"]]


def test_rollback_that_is_killed_anywhere_is_finished_or_undone_by_the_next_verb(past):
    past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    seen = set()
    for step in range(1, 40):
        if not past.killed_at(step, lambda: past.verb("rollback", "--reason", "worse")):
            break
        past.verb("compare")
        seen.add(in_service(past))
        assert listed(past) == ({"b"} if in_service(past) == "a" else set())
        assert not [e for e in past.store.get_executions() if e.last_known_state == pb.Execution.RUNNING]
        if in_service(past) == "a":  # so that the next one has something to roll back from
            assert past.verb("rollback", "--to", str(past.versions()[1])) == 0
        assert (in_service(past), listed(past)) == ("b", set())
    assert (step > 8, seen) == (True, {"a", "b"})


def test_same_rollback_after_a_kill_in_the_copy_does_what_was_wanted(past):
    past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    past.run(span=3, weights="c")
    assert past.killed_at(2, lambda: past.verb("rollback"))
    assert [p.name for p in past.paths.push_destination.iterdir() if not p.name.isdigit()]  # half a copy
    assert (in_service(past), listed(past)) == ("c", set())
    assert past.verb("rollback") == 0
    assert (in_service(past), listed(past)) == ("b", {"c"})
    assert not [p for p in past.paths.push_destination.iterdir() if p.name.endswith(".incomplete")]


def test_list_that_names_what_is_in_service_is_corrected(past):
    """An older version of this project wrote the list before the copy."""
    past.run(span=1, weights="a")
    _, two = past.run(span=2, weights="b")
    folder = past.paths.push_destination
    fingerprint = atomic_push.fingerprint(folder / str(two))
    served.withdraw(folder, fingerprint=fingerprint, version=two, when="", reason="killed")
    assert past.verb("lineage") == 0
    assert listed(past) == set()
    past.run(span=3, weights="c")
    assert past.verb("rollback") == 0
    assert in_service(past) == "b"


def killed_push(past: Past, **run: object) -> int:
    """A run that is killed between its push and the record of it; returns the Model's id."""

    def action() -> None:
        end = past._end

        def until_pusher(of: str, node: str, *arguments: object, **properties: object) -> dict[str, int]:
            if node == "Pusher":
                os.kill(os.getpid(), signal.SIGKILL)
            return end(of, node, *arguments, **properties)

        past._end = until_pusher
        past.run(**run)

    number = len(past.versions())
    assert past.killed_at(10**9, action)
    assert len(past.versions()) == number + 1
    return max(a.id for a in past.store.get_artifacts_by_type("Model"))


def test_push_that_was_killed_before_its_record_is_recorded_from_the_folder(past, capsys):
    first, one = past.run(span=1, weights="a")
    second = killed_push(past, span=2, weights="b", baseline=first)
    assert past.verb("compare") == 0
    text = capsys.readouterr().out
    history = read_history(past.store, task="toy")
    assert [(c.version, c.outcome) for c in compare(history, history.runs)] == [
        (str(one), "pushed"),
        (str(past.versions()[-1]), "pushed"),
    ]
    assert str(past.versions()[-1]) in text
    pushes = [e for e in history.executions.values() if e.node == "Pusher"]
    assert [e.state for e in pushes] == ["COMPLETE", "COMPLETE"]  # the one that TFX began, and no other
    assert [history.artifacts[a].properties["pushed"] for e in pushes for a in e.outputs["pushed_model"]] == [
        1,
        1,
    ]
    assert model_of_version(past.store, served_versions(past.paths.push_destination)[-1]) == second
    # The repeated run finds the same baseline as the one that was killed, and so its evaluation in the cache.
    assert baseline(past, second) == [first]
    assert past.verb("compare") == 0
    assert len(past.store.get_artifacts_by_type("PushedModel")) == 2


def test_evaluation_of_a_killed_push_is_not_rubbish(past):
    first, _ = past.run(span=1, weights="a")
    second = killed_push(past, span=2, weights="b", baseline=first)
    past.run(span=2, weights="c", push=False, baseline=second)
    assert past.verb("gc", "--keep", "1", "--yes") == 0
    assert served_model(past) == (second, 1)


def served_model(past: Past) -> tuple[int, int]:
    """The Model that `label` would use, and with how many blessings; both must be there."""
    models, pushes, blessings = channels(
        past, standard_artifacts.Model, standard_artifacts.PushedModel, standard_artifacts.ModelBlessing
    )
    strategy = ServedModelStrategy(str(past.paths.push_destination))
    inputs = {"model": models, "pushed_model": pushes, "model_blessing": blessings}
    found = strategy.resolve_artifacts(past.store, inputs)
    assert all(Path(a.uri).is_dir() for a in (*found["model"], *found["model_blessing"]))
    return found["model"][0].id, len(found["model_blessing"])


def test_gc_keeps_the_blessing_of_a_model_that_was_refused_when_it_was_judged_again(past):
    model, _ = past.run(span=1, weights="a")
    past.run(span=1, weights="a", retrain_of=model, push=False)
    assert past.verb("gc", "--keep", "1", "--yes") == 0
    assert served_model(past) == (model, 1)


def test_version_that_nothing_is_known_of_is_said_and_left(past):
    past.run(span=1, weights="a")
    (past.paths.push_destination / "9999999999").mkdir()
    sentences = unfinished.settle(past.store, past.paths)
    assert len(sentences) == 1
    assert "version 9999999999 is in service and not known to ML Metadata" in sentences[0]
    assert len(past.store.get_artifacts_by_type("PushedModel")) == 1


def test_error_in_settling_is_not_swallowed(past, monkeypatch):
    def broken(*_: object) -> None:
        raise FileNotFoundError("gone")

    monkeypatch.setattr(unfinished, "settle", broken)
    with pytest.raises(FileNotFoundError, match="gone"):
        unfinished.settle_if_free(past.store, past.paths)
    with paths.exclusive(past.paths):
        unfinished.settle_if_free(past.store, past.paths)  # a run is going on that does it itself


def test_executions_of_others_are_left_running(past):
    past.run(span=1, weights="a")
    past._begin("somebody-elses-run", "Trainer", {})
    assert past.verb("compare") == 0
    assert [e.last_known_state for e in past.store.get_executions()][-1] == pb.Execution.RUNNING


def test_run_that_was_killed_before_runs_said_where_they_write_has_failed(past):
    past.run(span=1, weights="a")
    run_record.put(past.store, "older", {run_record.SETTINGS: "{}"})
    past._begin("older", "Trainer", {})
    assert past.verb("compare") == 0
    assert past.store.get_executions()[-1].last_known_state == pb.Execution.FAILED


def test_execution_of_label_is_left_running_while_it_runs(past):
    past.run(span=1, weights="a")
    run_record.put(past.store, "label", {"pipeline_root": str(past.paths.pipeline_root)})
    past._begin("label", "Labeller", {})
    with paths.in_use(past.paths):
        assert past.verb("compare") == 0
        assert past.store.get_executions()[-1].last_known_state == pb.Execution.RUNNING
    assert past.verb("compare") == 0
    assert past.store.get_executions()[-1].last_known_state == pb.Execution.FAILED
    assert [run.number for run in read_history(past.store, task="toy").runs] == [1]  # label is not a run


def test_gc_waits_for_label_and_monitors_for_each_other(past, capsys):
    past.run(span=1, weights="a")
    with paths.in_use(past.paths), paths.in_use(past.paths):
        assert past.verb("gc", "--yes") == 2
    assert "a label, monitor or report of task toy is at work" in capsys.readouterr().err
    with paths.one_monitor(past.paths):
        assert past.verb("gc", "--yes") == 2
        with (
            pytest.raises(UserError, match="another monitor of task toy is at work"),
            paths.one_monitor(past.paths),
        ):
            pass
    with (
        paths.not_in_use(past.paths),
        pytest.raises(UserError, match="gc of task toy is at work"),
        paths.in_use(past.paths),
    ):
        pass
    assert past.verb("gc", "--yes") == 0


class Player:
    """Plays a random history, and looks after each step whether everything works on what is in service."""

    def __init__(self, past: Past, seed: int) -> None:
        self.past = past
        self.random = random.Random(seed)
        self.told: list[str] = []
        self.models: dict[str, int] = {}
        self.span = 0

    def play(self) -> None:
        self._push()
        steps = (
            self._push,
            self._refused,
            self._judged_again,
            self._rollback,
            self._rollback,
            self._forward,
            self._gc,
        )
        for _ in range(self.random.randint(5, 11)):
            self.random.choice(steps)()
            self.check()

    def _do(self, what: str, action: Callable[[], object]) -> None:
        """As it is, or killed at a random write."""
        if self.random.random() < 0.5:
            killed = self.past.killed_at(step := self.random.randint(1, 40), action)
            self.told.append(f"{what}, {f'killed at {step}' if killed else 'whole'}")
        else:
            action()
            self.told.append(what)

    def _run(self, what: str, **run: object) -> None:
        self.span += 1
        self._do(what, lambda: self.past.run(span=self.span, **run))

    def _push(self) -> None:
        weights = f"w{len(self.told)}"
        versions = served_versions(self.past.paths.push_destination)
        compared = model_of_version(self.past.store, versions[-1]) if versions else None
        if not versions:
            self.past.run(span=1, weights=weights)
            self.told.append("push")
        else:
            self._run("push", weights=weights, baseline=compared)

    def _refused(self) -> None:
        self._run("refused", weights=f"r{len(self.told)}", push=False)

    def _judged_again(self) -> None:
        model = self._model()
        if self.past.store.get_events_by_artifact_ids([model]):
            self._run("judged again", weights=in_service(self.past), retrain_of=model, push=False)

    def _rollback(self) -> None:
        self._do("rollback", lambda: self.past.verb("rollback"))

    def _forward(self) -> None:
        version = str(self.random.choice(self.past.versions()))
        self._do(f"rollback to {version}", lambda: self.past.verb("rollback", "--to", version))

    def _gc(self) -> None:
        keep = str(self.random.randint(1, 2))
        self._do(f"gc {keep}", lambda: self.past.verb("gc", "--keep", keep, "--yes"))

    def _model(self) -> int:
        model = model_of_version(self.past.store, served_versions(self.past.paths.push_destination)[-1])
        assert model is not None
        return model

    def check(self) -> None:
        past = self.past
        assert past.verb("compare") == 0
        assert past.verb("lineage") == 0
        assert past.verb("gc", "--keep", "1") == 0
        history = read_history(past.store, task="toy")
        assert {e.state for e in history.executions.values()} <= {"COMPLETE", "CACHED", "FAILED"}
        folders = [p.name for p in past.paths.push_destination.iterdir()]
        assert [name for name in folders if not name.isdigit() and name != ".withdrawn.json"] == []
        model, num_blessings = served_model(past)
        assert (model, num_blessings) == (self._model(), 1)
        # The model in ML Metadata is really what is served, and all that made it is there.
        assert weights_of(Path(history.artifacts[model].uri) / "Format-Serving") == in_service(past)
        gone = [a for a in history.ancestors(model) if history.artifacts[a].state != "LIVE"]
        assert gone == []
        found = find_served(past.store, past.paths, version=None)
        assert Path(found.evaluation_uri).is_dir()
        assert found.statistics_dir.parent.is_dir()
        assert in_service(past) not in listed(past)
        pushed = {
            v.version: in_folder
            for v in served_versions(past.paths.push_destination)
            if (in_folder := v.folder)
        }
        recorded = {
            int(a.properties["pushed_version"])
            for e in history.executions.values()
            for key, ids in e.outputs.items()
            if key == "pushed_model"
            for a in (history.artifacts[i] for i in ids)
            if a.properties["pushed"] == 1 and a.state == "LIVE"
        }
        assert recorded >= set(pushed)
        assert baseline(past, -1) == [model]


@pytest.mark.parametrize("seed", range(NUM_HISTORIES))
def test_whatever_happened_every_verb_works_on_what_is_in_service(past, seed):
    player = Player(past, seed)
    try:
        player.play()
    except BaseException:
        print("\n".join(player.told))
        raise
