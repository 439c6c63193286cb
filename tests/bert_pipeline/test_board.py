"""TensorBoard's folder: the right trainings under the right names, links to their curves, the graph unfolded."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import tensorflow as tf

from bert_pipeline.board import server
from bert_pipeline.board.folder import collect
from bert_pipeline.board.graph import read_graph
from bert_pipeline.board.trainings import Training, trainings
from bert_pipeline.metadata import run_history
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


def lines_of(folder: Path, wanted: list[Training]) -> list[str]:
    lines: list[str] = []
    collect(folder, wanted, say=lines.append)
    return lines


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


def test_what_somebody_put_there_is_left(past, tmp_path):
    folder = tmp_path / "board"
    for name in ("mine/events.out.tfevents.1", "run-9_mine/notes"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
    (folder / "notes.txt").write_text("mine")
    (folder / ".partialrun-1").mkdir()  # of a verb that was killed
    lines_of(folder, found(past))
    lines_of(folder, found(past, last=1))
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("events"))
    assert names == ["mine", "notes.txt", found(past, last=1)[0].name, "run-9_mine"]


def test_only_the_last_ones_are_shown_and_none_is_an_error(past):
    assert [t.settings["training.epochs"] for t in found(past, last=1)] == [3]
    for artifact in past.store.get_artifacts_by_type("ModelRun"):
        (Path(artifact.uri) / "training.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"no training of toy has files .*; make pipeline TASK=toy first"):
        found(past)


def test_folder_links_to_the_curves_and_follows_what_comes_and_goes(past, tmp_path):
    folder, (first, second) = tmp_path / "board", found(past)
    (tmp_path / "board/.partialrun-9").mkdir(parents=True)  # of a process that was killed
    lines = lines_of(folder, [first])
    assert lines == [
        f"  {first.name}: curves of train, curves of held_out, 3 settings, "
        "no projector (its eval texts or its model are gone)"
    ]
    assert (folder / first.name / "train").resolve() == (first.model_run_dir / "train").resolve()
    assert len(lines_of(folder, [first, second])) == 1  # the first one stays as it is
    assert lines_of(folder, [second]) == []
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [second.name]
    assert (first.model_run_dir / "train").is_dir()  # the link went, the curves stayed


def test_links_show_the_curves_under_the_names_of_the_trainings(past, tmp_path):
    from tensorboard.backend.event_processing import plugin_event_multiplexer

    first, second = found(past)
    with tf.summary.create_file_writer(str(first.model_run_dir / "train")).as_default(step=6):
        tf.summary.scalar("loss", 0.25)
    lines_of(tmp_path / "board", [first, second])
    reader = (
        plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "board")).Reload()
    )
    (point,) = reader.Tensors(f"{first.name}/train", "loss")
    assert (point.step, tf.make_ndarray(point.tensor_proto)) == (6, 0.25)
    (point,) = reader.Tensors(second.name, "evaluation/accuracy")
    assert float(tf.make_ndarray(point.tensor_proto)) == pytest.approx(0.6)


def test_graph_holds_the_bodies_of_functions_under_their_names(tmp_path):
    module = tf.Module()
    module.kernel = tf.Variable([[2.0]], name="head/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 1])])
    def classify(x):
        return tf.matmul(x, module.kernel, name="product")

    @tf.function(input_signature=[tf.TensorSpec([None, 1], name="x")])
    def serving_default(x):
        return {"y": classify(x) + classify(x + 1.0)}

    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serving_default})
    nodes = {node.name: node for node in read_graph(tmp_path).node}
    products = [name for name, node in nodes.items() if node.op == "MatMul"]
    assert products == ["serving_default/classify/product", "serving_default/classify_1/product"]
    assert not [node.op for node in nodes.values() if "PartitionedCall" in node.op]
    # Every input is a node; the second call reads what the first one does.
    read = {i.lstrip("^").partition(":")[0] for node in nodes.values() for i in node.input}
    assert read <= set(nodes)


def test_port_that_is_taken_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port is {port}: .*in use.*; name another one, or 0"):
            server.launch(tmp_path, port=port)
