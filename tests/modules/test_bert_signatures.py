"""The exported model, as those who serve it see it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import bert_model
import bert_signatures
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bert_pipeline.components import op_audit

# `toy` and `trained` come from conftest.py, and so do their types.

LABELS = [b"bad", b"good", b"so so"]


@pytest.fixture(scope="module")
def signatures(trained: Any) -> Any:
    return tf.saved_model.load(trained.fn_args.serving_model_dir).signatures


def _examples(*rows: dict[str, str]) -> tf.Tensor:
    """Serialized tf.Examples with the raw features."""
    serialized = []
    for row in rows:
        feature = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
            for name, value in row.items()
        }
        serialized.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return tf.constant(serialized, tf.string)


def test_there_are_three_signatures_with_the_promised_names(signatures: Any) -> None:
    inputs = {name: sorted(function.structured_input_signature[1]) for name, function in signatures.items()}
    outputs = {name: sorted(function.structured_outputs) for name, function in signatures.items()}
    assert inputs == {
        "serving_default": ["review"], "serve_examples": ["examples"], "transform_features": ["examples"]
    }  # fmt: skip
    assert outputs == {
        "serving_default": ["label", "labels", "probabilities"],
        "serve_examples": ["label", "labels", "probabilities"],
        "transform_features": ["input_mask", "input_type_ids", "input_word_ids", "label_id"],
    }


def test_text_in_label_and_probabilities_out(signatures: Any) -> None:
    answers = signatures["serving_default"](review=tf.constant(["i love it", "hate"]))
    assert answers["label"].numpy().tolist() == [b"good", b"bad"]
    assert answers["labels"].numpy().tolist() == [LABELS, LABELS]
    assert answers["probabilities"].dtype == tf.float32
    assert answers["probabilities"].numpy().argmax(axis=1).tolist() == [1, 0]
    np.testing.assert_allclose(answers["probabilities"].numpy().sum(axis=1), [1, 1], rtol=1e-6)


@pytest.mark.parametrize("num_texts", [0, 1, 3])
def test_any_number_of_texts(signatures: Any, num_texts: int) -> None:
    answers = signatures["serving_default"](review=tf.constant(["love"] * num_texts, tf.string))
    assert answers["label"].numpy().tolist() == [b"good"] * num_texts
    assert answers["probabilities"].shape == answers["labels"].shape == (num_texts, 3)
    examples = _examples(*[{"review": "love"}] * num_texts)
    assert (
        signatures["serve_examples"](examples=examples)["label"].numpy().tolist() == [[b"good"]] * num_texts
    )
    assert signatures["transform_features"](examples=examples)["label_id"].shape == (num_texts,)


def test_examples_need_no_label_and_answer_as_texts_do(signatures: Any) -> None:
    texts = ["i love it", "not this", "shoe " * 50]
    by_text = signatures["serving_default"](review=tf.constant(texts))
    by_example = signatures["serve_examples"](examples=_examples(*({"review": text} for text in texts)))
    np.testing.assert_allclose(by_example["probabilities"], by_text["probabilities"], atol=1e-6)
    assert by_example["label"].numpy().tolist() == [[label] for label in by_text["label"].numpy()]


def test_transformed_features_are_padded_and_unknown_labels_are_minus_one(signatures: Any) -> None:
    features = signatures["transform_features"](
        examples=_examples(
            {"review": "love shoe", "label": "so so"}, {"review": "the", "label": "superb"}, {"review": ""}
        )
    )
    assert features["label_id"].numpy().tolist() == [2, -1, -1]
    assert features["input_word_ids"].numpy().tolist() == [[3, 60, 55, 4], [3, 40, 4, 0], [3, 4, 0, 0]]
    assert features["input_mask"].numpy().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]
    assert {tensor.dtype for tensor in features.values()} == {tf.int64}


def test_a_text_longer_than_the_limit_is_cut(signatures: Any) -> None:
    features = signatures["transform_features"](examples=_examples({"review": "the " * 99}))
    assert features["input_word_ids"].numpy().tolist() == [[3, *[40] * 10, 4]]


def test_probabilities_do_not_depend_on_the_other_texts(signatures: Any) -> None:
    serve = signatures["serving_default"]
    alone = serve(review=tf.constant(["i love the sole"]))["probabilities"][0]
    among = serve(review=tf.constant(["shoe " * 50, "i love the sole", "a", ""] * 5))["probabilities"]
    np.testing.assert_allclose(among.numpy()[1::4], [alone] * 5, atol=1e-5)


LOAD = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tfx", "tfx_bsl", "tensorflow_transform", "tensorflow_hub", "tf_keras"):
            raise ImportError(f"not for serving: {name}")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf
import tensorflow_text
answers = tf.saved_model.load(sys.argv[1]).signatures["serving_default"](review=tf.constant(["i love it"]))
print(answers["label"].numpy()[0].decode())
"""


def test_model_loads_with_tensorflow_and_its_text_ops_alone(trained: Any) -> None:
    # With this variable set TensorFlow itself looks for tf_keras.
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    command = [sys.executable, "-c", LOAD, trained.fn_args.serving_model_dir]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "good\n"


def test_model_holds_nothing_but_what_the_signatures_need(trained: Any) -> None:
    """Few functions and no layers is what makes loading fast."""
    path = pathlib.Path(trained.fn_args.serving_model_dir) / "saved_model.pb"
    graph = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0]
    kinds = [node.WhichOneof("kind") for node in graph.object_graph_def.nodes]
    assert (
        kinds.count("variable")
        == 34
        == len(tf.train.list_variables(f"{path.parent}/variables/variables")) - 1
    )
    assert kinds.count("function") == 0
    functions = graph.graph_def.library.function
    assert sum(len(function.node_def) for function in functions) < 1800
    # The encoder is there once, though two signatures use it, and so is the tokenizer.
    ops = [node.op for function in functions for node in function.node_def]
    assert ops.count("Erf") == 2  # gelu, one a layer
    assert ops.count("FastWordpieceTokenizeWithOffsets") == 1


@pytest.mark.parametrize("release", op_audit.known_versions())
def test_model_runs_on_each_known_release_of_tf_serving(trained: Any, release: str) -> None:
    assert op_audit.missing_ops(trained.fn_args.serving_model_dir, tf_serving_version=release) == []


def test_export_that_fails_leaves_no_model(
    toy: Any, trained: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bert_model.build_model(
        trained.encoder.path, num_labels=3, pooling="pooled_output", training=trained.training
    )
    export_dir = tmp_path / "model" / "Format-Serving"

    def export() -> None:
        bert_signatures.export(
            model, transform_output=toy.output, data=trained.data, export_dir=str(export_dir)
        )

    def fail(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise OSError("disk full")

    save = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export()
    assert not export_dir.exists()
    monkeypatch.undo()
    export()
    assert [path.name for path in export_dir.parent.iterdir()] == ["Format-Serving"]
