"""The verb `tensorboard`: the right trainings under the right names, with their curves, settings and metrics."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import tensorflow as tf

from bert_pipeline.metadata import run_history
from bert_pipeline.report.tensorboard import Training, collect, launch, trainings
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.past import Past


def trained(past: Past, *, epochs: int) -> Path:
    """Gives the newest ModelRun what a Trainer leaves there."""
    folder = Path(max(past.store.get_artifacts_by_type("ModelRun"), key=lambda a: a.id).uri)
    report = {"training": {"epochs": epochs}, "encoder": {"handle": "tiny"}, "num_steps": 6}
    (folder / "training.json").write_text(json.dumps(report))
    for name in ("train", "held_out"):
        (folder / name).mkdir()
    return folder


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Two trainings, and between them a run that found the first one in the cache."""
    past = Past(tmp_path / "out")
    model, _ = past.run(span=1, weights="a", epochs=2, accuracy=0.8)
    trained(past, epochs=2)
    past.run(span=1, weights="a", epochs=2, accuracy=0.7, push=False, retrain_of=model)
    past.run(span=2, weights="b", epochs=3, accuracy=0.6, push=False, baseline=model)
    trained(past, epochs=3)
    for artifact in past.store.get_artifacts_by_type("Model"):
        shutil.rmtree(artifact.uri)  # they are no SavedModels
    return past


def found(past: Past, *, last: int = 5) -> list[Training]:
    return trainings(run_history.read_history(past.store, task="toy"), last=last)


def test_each_training_stands_there_once_with_run_day_span_and_what_became_of_it(past):
    first, second = found(past)
    day = run_history.read_history(past.store, task="toy").runs[0].name[:10]
    (version,) = past.versions()
    assert first.name == f"run-1_{day}_span-1_version-{version}"
    assert second.name == f"run-3_{day}_span-2_refused"


def test_settings_are_the_trainings_and_metrics_those_of_its_last_evaluation(past):
    first, second = found(past)
    assert first.settings == {"encoder.handle": "tiny", "spans": "1", "training.epochs": 2}
    assert first.metrics == pytest.approx({"accuracy": 0.7, "macro_f1": 0.69})
    assert second.metrics["accuracy"] == pytest.approx(0.6)


def test_only_the_last_ones_are_shown_and_none_is_an_error(past):
    assert [t.settings["training.epochs"] for t in found(past, last=1)] == [3]
    for artifact in past.store.get_artifacts_by_type("ModelRun"):
        (Path(artifact.uri) / "training.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"no training of toy has files .*; make pipeline TASK=toy first"):
        found(past)


def test_links_show_the_curves_under_the_names_of_the_trainings(past, tmp_path):
    from tensorboard.backend.event_processing import plugin_event_multiplexer

    first, second = found(past)
    with tf.summary.create_file_writer(str(first.folder / "train")).as_default(step=6):
        tf.summary.scalar("loss", 0.25)
    collect(tmp_path / "board", [first, second])
    reader = (
        plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "board")).Reload()
    )
    (point,) = reader.Tensors(f"{first.name}/train", "loss")
    assert (point.step, tf.make_ndarray(point.tensor_proto)) == (6, 0.25)
    (point,) = reader.Tensors(second.name, "evaluation/accuracy")
    assert float(tf.make_ndarray(point.tensor_proto)) == pytest.approx(0.6)


def test_port_that_is_taken_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port is {port}: .*in use.*; name another one, or 0"):
            launch(tmp_path, port=port)
