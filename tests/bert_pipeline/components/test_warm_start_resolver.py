"""The base model of a warm start is the newest blessed one, and a repeated run begins where the first one did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from bert_pipeline.components.warm_start_resolver import WarmStartStrategy
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.past import Past


def config(**changed: str) -> str:
    return json.dumps({"training": "{}", "encoder_sha256": "e" * 64} | changed)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


def base_model(past: Past, *, training: int = 0, custom_config: str = "") -> list[int]:
    """What a run starts from that trains on what the Model `training` was trained on; 0: on something new."""
    inputs: dict[str, list] = {}
    for key, kind in (
        ("model", standard_artifacts.Model),
        ("model_blessing", standard_artifacts.ModelBlessing),
    ):
        inputs[key] = []
        for found in past.store.get_artifacts_by_type(kind.TYPE_NAME):
            artifact = kind()
            artifact.set_mlmd_artifact(found)
            inputs[key].append(artifact)
    for key, kind in (
        ("examples", standard_artifacts.Examples),
        ("transform_graph", standard_artifacts.TransformGraph),
    ):
        artifact = kind()
        artifact.id = given(past, training)[key] if training else 9999
        inputs[key] = [artifact]
    strategy = WarmStartStrategy(custom_config or config(), str(past.paths.push_destination))
    return [a.id for a in strategy.resolve_artifacts(past.store, inputs)["model"]]


def given(past: Past, model: int) -> dict[str, int]:
    output, *_ = past.store.get_events_by_artifact_ids([model])
    events = past.store.get_events_by_execution_ids([output.execution_id])
    return {event.path.steps[0].key: event.artifact_id for event in events}


def test_first_run_starts_from_the_encoder_alone(past):
    past.run(span=1, weights="a", push=False, config=config())
    assert base_model(past) == []


def test_newest_blessed_model_is_taken_and_a_refused_one_is_not(past):
    past.run(span=1, weights="a", config=config())
    second, _ = past.run(span=2, weights="b", config=config())
    past.run(span=3, weights="c", push=False, config=config())
    assert base_model(past) == [second]


def test_repeated_run_starts_from_where_the_first_one_did(past):
    first, _ = past.run(span=1, weights="a", config=config())
    second, _ = past.run(span=2, weights="b", config=config(), base_model=first)
    assert base_model(past, training=second) == [first]
    assert base_model(past, training=first) == []


def test_changed_settings_on_the_same_data_start_from_the_newest(past):
    past.run(span=1, weights="a", config=config())
    second, _ = past.run(span=2, weights="b", config=config())
    assert base_model(past, training=second, custom_config=config(training='{"epochs": 9}')) == [second]


def test_model_that_was_rolled_back_from_is_no_base(past):
    first, _ = past.run(span=1, weights="a", config=config())
    past.run(span=2, weights="b", config=config())
    past.verb("rollback")
    assert base_model(past) == [first]


def test_other_encoder_is_refused_with_both_hashes(past):
    first, _ = past.run(span=1, weights="a", config=config())
    with pytest.raises(UserError, match=rf"the last blessed model \({first}\) was trained on an encoder with sha256 "
                       r"eeeeeeeeeeee, and encoder\.handle now names one with ffffffffffff; set "
                       r'training\.warm_start = "none"'):  # fmt: skip
        base_model(past, custom_config=config(encoder_sha256="f" * 64))
