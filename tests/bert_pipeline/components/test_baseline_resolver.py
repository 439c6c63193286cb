"""The baseline is the model in service, and never the candidate itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import standard_artifacts

from bert_pipeline.components.baseline_resolver import ModelInServiceStrategy
from bert_pipeline.components.served_model_resolver import GivenModelStrategy


class World:
    """Models and pushes in a real in-memory ML Metadata."""

    def __init__(self) -> None:
        config = pb.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = MetadataStore(config)
        self._types = {
            "Model": self.store.put_artifact_type(pb.ArtifactType(name="Model")),
            "PushedModel": self.store.put_artifact_type(pb.ArtifactType(name="PushedModel")),
        }
        self._pusher = self.store.put_execution_type(pb.ExecutionType(name="Pusher"))
        self.models: list[standard_artifacts.Model] = []
        self.pushes: list[standard_artifacts.PushedModel] = []

    def model(self) -> standard_artifacts.Model:
        artifact = standard_artifacts.Model()
        (artifact.id,) = self.store.put_artifacts([pb.Artifact(type_id=self._types["Model"])])
        self.models.append(artifact)
        return artifact

    def push(self, model: standard_artifacts.Model, *, pushed: int = 1, version: Path | None = None) -> None:
        artifact = standard_artifacts.PushedModel()
        artifact.set_int_custom_property("pushed", pushed)
        recorded = pb.Artifact(type_id=self._types["PushedModel"])
        recorded.custom_properties["pushed"].int_value = pushed
        if version is not None:
            version.mkdir()
            recorded.custom_properties["pushed_version"].string_value = version.name
            recorded.custom_properties["pushed_destination"].string_value = str(version)
        (artifact.id,) = self.store.put_artifacts([recorded])
        (execution,) = self.store.put_executions([pb.Execution(type_id=self._pusher)])
        for id_, type_, key in (
            (model.id, pb.Event.INPUT, "model"),
            (artifact.id, pb.Event.OUTPUT, "pushed_model"),
        ):
            path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
            event = pb.Event(artifact_id=id_, execution_id=execution, type=type_, path=path)
            self.store.put_events([event])
        self.pushes.append(artifact)

    def baseline(self, candidate: standard_artifacts.Model, *, folder: Path | str = "") -> list[int]:
        inputs = {"model": list(self.models), "pushed_model": list(self.pushes), "candidate": [candidate]}
        return [
            m.id for m in ModelInServiceStrategy(str(folder)).resolve_artifacts(self.store, inputs)["model"]
        ]


@pytest.fixture
def world() -> World:
    return World()


def test_first_model_has_no_baseline(world):
    assert world.baseline(world.model()) == []


def test_repeated_run_does_not_compare_a_model_with_itself(world):
    first = world.model()
    world.push(first)
    assert world.baseline(first) == []


def test_new_candidate_is_compared_with_the_model_in_service(world):
    first, second = world.model(), world.model()
    world.push(first)
    assert world.baseline(second) == [first.id]


def test_repeated_run_of_the_second_model_still_meets_the_first(world):
    first, second = world.model(), world.model()
    world.push(first)
    world.push(second)
    assert world.baseline(second) == [first.id]


def test_refused_model_is_no_baseline(world):
    first, refused, third = world.model(), world.model(), world.model()
    world.push(first)
    world.push(refused, pushed=0)
    assert world.baseline(third) == [first.id]


def test_model_pushed_again_is_the_one_in_service(world):
    first, second, third = world.model(), world.model(), world.model()
    world.push(first)
    world.push(second)
    world.push(first)
    assert world.baseline(third) == [first.id]


def test_repeated_run_of_a_model_that_was_put_back_gets_the_baseline_of_its_first_run(world):
    first, second = world.model(), world.model()
    world.push(first)
    world.push(second)
    world.push(first)
    assert world.baseline(first) == []


def test_served_folder_is_the_truth_where_metadata_says_otherwise(world, tmp_path):
    """A push that was killed before it was recorded, and a version that somebody removed by hand."""
    first, second, third = world.model(), world.model(), world.model()
    world.push(first, version=tmp_path / "1000")
    world.push(second, version=tmp_path / "2000")
    assert world.baseline(third, folder=tmp_path) == [second.id]
    (tmp_path / "2000").rmdir()
    assert world.baseline(third, folder=tmp_path) == [first.id]


def test_clock_that_went_back_does_not_change_what_is_newest(world, tmp_path):
    first, second, third = world.model(), world.model(), world.model()
    world.push(first, version=tmp_path / "2000")
    world.push(second, version=tmp_path / "2001")  # pushed at 1000: a version is never lower than the newest
    assert world.baseline(third, folder=tmp_path) == [second.id]
    assert world.baseline(third) == [second.id]


def test_a_version_that_is_named_is_its_own_model_and_not_the_one_in_service(tmp_path: Path) -> None:
    world = World()
    older, newer = world.model(), world.model()
    world.push(older, version=tmp_path / "1")
    world.push(newer, version=tmp_path / "2")
    given = {"model": world.models}
    found = GivenModelStrategy(model_id=older.id).resolve_artifacts(world.store, given)
    assert found == {"model": [older]}
    assert GivenModelStrategy(model_id=99).resolve_artifacts(world.store, given) == {"model": []}
