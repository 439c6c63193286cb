"""The skew check finds nothing where there is nothing, and what was put there on purpose."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import apache_beam as beam
import bert_model
import bert_signatures
import bert_task
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tf_keras
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from bert_transform import preprocessing_fn
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata
from tensorflow_transform.tf_metadata.metadata_io import write_metadata

from bert_pipeline.__main__ import main
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.running import skew
from bert_pipeline.running.skew import Artifacts
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import run_paths
from tests.bert_pipeline.past import Past

DATA = bert_task.DataConfig(
    path=".", text=("text",), label="label", labels=("bad", "good"), files={"all": "reviews.csv"}
)
TRAINING = bert_task.TrainingConfig(seed=3)
SCHEMA = text_format.Parse(
    """
    feature { name: "text" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    """,
    schema_pb2.Schema(),
)
ROWS = """\
id,text,label
1,This shoe is GREAT and I love it,good
2,"poor sole, bad heel",bad
3,,bad
4,this shoe is not very good and the heel and the sole are bad and I hate it,bad
"""


def _transform_graph(folder: Path, *, encoder: Encoder, max_seq_length: int, lower_case: bool) -> str:
    """Writes a transform graph as TFX's Transform does."""
    custom_config = {
        "data": bert_task.to_json(DATA),
        "text": bert_task.to_json(bert_task.TextConfig(max_seq_length=max_seq_length)),
        "vocab_path": encoder.vocab_path,
        "lower_case": lower_case,
    }
    raw_metadata = dataset_metadata.DatasetMetadata(SCHEMA)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "beam")):
        rows = pipeline | beam.Create([{"text": [b"a"], "label": [b"bad"]}])
        transform_fn = (rows, raw_metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, custom_config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    write_metadata(raw_metadata, str(folder / "graph" / "metadata"))
    return str(folder / "graph")


@dataclasses.dataclass(frozen=True)
class Training:
    """What trainings of a tiny model left, with and without a fault."""

    sound: Artifacts
    other_tokens: Artifacts
    """Exported with 12 tokens and capitals kept, where training had 16 and none."""

    other_weights: Artifacts


@pytest.fixture(scope="module")
def training(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Trains nothing: the weights of the head are random."""
    root = tmp_path_factory.mktemp("skew")
    graph = _transform_graph(root / "16", encoder=tiny_encoder, max_seq_length=16, lower_case=True)
    other_graph = _transform_graph(root / "12", encoder=tiny_encoder, max_seq_length=12, lower_case=False)
    model = bert_model.build_model(tiny_encoder.path, num_labels=2, pooling="mean", training=TRAINING)
    for name, served_graph in [("sound", graph), ("other", other_graph)]:
        output = tft.TFTransformOutput(served_graph)
        bert_signatures.export(model, transform_output=output, data=DATA, export_dir=str(root / name))
    _write_model_run(root / "run", model=model, encoder=tiny_encoder)
    head = model.get_layer("head")
    head.set_weights([weight + np.array([0.0, 0.1]) for weight in head.get_weights()])
    _write_model_run(root / "other_run", model=model, encoder=tiny_encoder)

    def artifacts(run: str, model_dir: str) -> Artifacts:
        return Artifacts(
            transform_graph_dir=graph, model_run_dir=str(root / run), saved_model_dir=str(root / model_dir)
        )

    return Training(artifacts("run", "sound"), artifacts("run", "other"), artifacts("other_run", "sound"))


def _write_model_run(folder: Path, *, model: tf_keras.Model, encoder: Encoder) -> None:
    """Writes what the Trainer leaves in its model run."""
    folder.mkdir()
    model.save_weights(str(folder / "best_weights.h5"))
    report = {
        "encoder_path": encoder.path,
        "num_labels": 2,
        "encoder": {"pooling": "mean"},
        "training": dataclasses.asdict(TRAINING),
    }
    (folder / "training.json").write_text(json.dumps(report))


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def test_a_sound_training_shows_no_skew_over_several_groups_of_texts(
    training: Training, csv_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skew, "_GROUP", 5)
    monkeypatch.setattr(skew, "_MODEL_BATCH", 2)

    result = skew.run_skew([csv_path, csv_path], data=DATA, artifacts=training.sound)

    assert not result.found and result.named == []
    assert (result.num_texts, result.num_id_differences) == (8, 0)
    assert result.text_difference < 1e-6 and result.example_difference < 1e-6


def test_another_length_and_casing_at_serving_are_found_in_the_texts_they_change(
    training: Training, csv_path: Path
) -> None:
    result = skew.run_skew([csv_path], data=DATA, artifacts=training.other_tokens)

    assert result.found and result.num_id_differences == 2
    assert result.text_difference > 1e-5 and result.example_difference > 1e-5
    # The vocabulary is in lower case: with its capital kept, the first word of row 1 is [UNK], id 2.
    assert result.named[0].startswith("reviews.csv row 1: input_word_ids[1] is ")
    assert result.named[0].endswith(" in Transform and 2 in the SavedModel")
    # Row 4 is cut to 12 tokens, of which the last is [SEP], id 4; its capital lies beyond both cuts.
    assert result.named[1].startswith("reviews.csv row 4: input_word_ids[11] is ")
    assert result.named[1].endswith(" in Transform and 4 in the SavedModel")


def test_other_weights_at_serving_are_found_though_no_id_differs(training: Training, csv_path: Path) -> None:
    result = skew.run_skew([csv_path], data=DATA, artifacts=training.other_weights)

    assert result.found and result.num_id_differences == 0
    assert "probabilities of the Trainer's model and serving_default differ by" in result.named[0]
    lines = list(skew.as_lines(result))
    assert lines[-1] == "verdict          SKEW: serving does not compute what was trained"


def test_an_export_in_bfloat16_is_held_to_its_own_limit(
    training: Training, csv_path: Path, tmp_path: Path
) -> None:
    run_dir = shutil.copytree(training.sound.model_run_dir, tmp_path / "run")
    report = json.loads((run_dir / "training.json").read_text())
    (run_dir / "training.json").write_text(json.dumps(report | {"export": {"form": "bfloat16"}}))
    artifacts = dataclasses.replace(training.sound, model_run_dir=str(run_dir))

    result = skew.run_skew([csv_path], data=DATA, artifacts=artifacts)

    assert list(skew.as_lines(result))[2].endswith("(must be under 0.05)")
    assert not dataclasses.replace(result, text_difference=0.04).found
    assert dataclasses.replace(result, text_difference=0.06).found


def test_a_probability_that_is_not_a_number_is_skew() -> None:
    gaps = skew._gaps(np.array([[0.5, 0.5]]), np.array([[np.nan, 0.5]]))

    assert gaps.tolist() == [float("inf")]


def test_a_table_without_the_text_column_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("body,label\na,bad\n", encoding="utf-8")

    with pytest.raises(UserError, match=r"there is no column 'text' \(data.text\); it has body, label"):
        list(skew.read_texts([path], data=DATA))


def test_unlabelled_texts_can_be_compared(tmp_path: Path) -> None:
    path = tmp_path / "unlabelled.csv"
    path.write_text("text\ngreat shoe\n", encoding="utf-8")

    (text,) = skew.read_texts([path], data=DATA)

    features = tf.train.Example.FromString(text.example).features.feature
    assert features["text"].bytes_list.value[:] == [b"great shoe"]
    assert features["label"].bytes_list.value[:] == [b"bad"]


def test_before_the_first_run_the_check_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["skew", "--task", "toy", "--out", str(tmp_path)]) == 2
    assert (
        "no run was made here yet; python -m bert_pipeline pipeline --task toy --out"
        in capsys.readouterr().err
    )


def test_without_a_finished_training_there_is_nothing_to_compare(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.execute("first", "ExampleGen", {}, {"examples": "Examples"}, span=1)
    with pytest.raises(UserError, match="no training has finished in .*; make pipeline first"):
        skew.newest_training(past.store, past.paths)


def test_of_several_tasks_in_one_store_only_the_trainings_of_the_task_count(tmp_path: Path) -> None:
    past = Past(tmp_path)
    model, _ = past.run(span=1, weights="a")
    (artifact,) = past.store.get_artifacts_by_id([model])
    assert skew.newest_training(past.store, past.paths).saved_model_dir == f"{artifact.uri}/Format-Serving"
    with pytest.raises(UserError, match="ML Metadata knows no run of task other; "):
        skew.newest_training(past.store, run_paths("other", out=tmp_path))
