"""The op audit, on real SavedModels and on the committed lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.core.protobuf import saved_model_pb2

from bert_pipeline.components import op_audit
from bert_pipeline.settings.errors import UserError


def save(function: object, folder: Path) -> Path:
    module = tf.Module()
    module.serve = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


@pytest.mark.parametrize("release", ["2.16.1", "2.20.0"])
def test_op_newer_than_the_release_is_named(tmp_path: Path, release: str) -> None:
    def trim(texts: tf.Tensor) -> tf.Tensor:
        segments = tf.strings.split(texts)
        return tf_text.RoundRobinTrimmer(3).trim([segments, segments])[0].to_tensor()

    folder = save(trim, tmp_path)
    assert op_audit.missing_ops(folder, tf_serving_version=release) == ["TFText>RoundRobinTrim"]


def test_core_op_of_the_newer_release_is_missing_in_the_older(tmp_path: Path) -> None:
    saved_model = saved_model_pb2.SavedModel()
    meta_graph = saved_model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.graph_def.node.add(name="index", op="IndexFlatMapDataset")  # of TensorFlow 2.17
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert op_audit.missing_ops(tmp_path, tf_serving_version="2.16.1") == ["IndexFlatMapDataset"]
    assert op_audit.missing_ops(tmp_path, tf_serving_version="2.20.0") == []


@pytest.mark.parametrize(
    ("tensorflow", "release"),
    [
        ("2.16.2", "2.16.1"),
        ("2.17.0rc1", "2.16.1"),
        ("2.20.0", "2.20.0"),
        ("2.21.0", "2.20.0"),
        ("3.0", "2.20.0"),
    ],
)
def test_release_follows_tensorflow(tensorflow: str, release: str) -> None:
    assert op_audit.release_to_audit("", tensorflow=tensorflow) == release


def test_release_that_is_set_is_kept_and_a_tensorflow_older_than_all_is_refused() -> None:
    assert op_audit.release_to_audit("2.16.1", tensorflow="2.21.0") == "2.16.1"
    with pytest.raises(UserError) as error:
        op_audit.release_to_audit("", tensorflow="2.9.1")
    assert str(error.value) == (
        "serving.tf_serving_version: no op list is as old as TensorFlow 2.9.1; set one of 2.16.1, 2.20.0"
    )


def test_a_model_that_runs_on_the_older_release_runs_on_the_newer() -> None:
    """What left between them is not in any exported graph: TensorRT, TF Lite, calibration, oneDNN's rewrites."""
    gone = op_audit._read_lists("2.16.1") - op_audit._read_lists("2.20.0")
    named = sorted(op for op in gone if not op.startswith("_Mkl") and "TRT" not in op)
    assert named == ["GetCalibrationDataOp", "TfLiteSubgraphExecute"]


def test_ops_inside_functions_of_functions_are_seen(tmp_path: Path) -> None:
    @tf.function
    def inner(texts: tf.Tensor) -> tf.Tensor:
        return tf.strings.upper(texts)

    folder = save(lambda texts: tf.map_fn(inner, texts), tmp_path)
    used = op_audit.used_ops(folder)
    assert {"StringUpper", "Placeholder"} <= used
    assert not {op for op in used if op.startswith("__inference")}


def test_core_and_old_text_ops_pass(tmp_path: Path) -> None:
    folder = save(lambda texts: tf_text.WhitespaceTokenizer().tokenize(texts).to_tensor(), tmp_path)
    assert "TFText>WhitespaceTokenizeWithOffsetsV2" in op_audit.used_ops(folder)
    assert op_audit.missing_ops(folder, tf_serving_version="2.16.1") == []


def test_unknown_release_is_refused_with_the_known_ones_and_the_way_to_add_one() -> None:
    with pytest.raises(UserError) as error:
        op_audit.check_version("9.9.9")
    assert str(error.value) == (
        "serving.tf_serving_version: there is no op list for '9.9.9'; known: 2.16.1, 2.20.0. "
        "To add one, make tf_serving_ops/9.9.9/ as tf_serving_ops/list_ops.py says"
    )


@pytest.mark.parametrize(("release", "core"), [("2.16.1", 1891), ("2.20.0", 1909)])
def test_lists_hold_the_ops_of_the_two_packages(release: str, core: int) -> None:
    allowed = op_audit._read_lists(release)
    assert len(allowed) == core + 35
    assert {"MatMul", "HashTableV2", "FastWordpieceTokenizeWithOffsets", "CaseFoldUTF8"} <= allowed
    assert not {"TFText>RoundRobinTrim", "TFText>RoundRobinGenerateMasks", "TFText>Utf8Binarize"} & allowed
    assert not [op for op in allowed if op.startswith("SimpleML")]


def test_function_called_by_its_name_is_no_op(tmp_path: Path) -> None:
    saved_model = saved_model_pb2.SavedModel()
    meta_graph = saved_model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.graph_def.node.add(name="call", op="my_function")  # as TF1 graphs call functions
    function = meta_graph.graph_def.library.function.add()
    function.signature.name = "my_function"
    function.node_def.add(name="inside", op="NoSuchOp")
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert op_audit.used_ops(tmp_path) == {"NoSuchOp"}


def test_model_that_is_not_for_serving_is_refused(tmp_path: Path) -> None:
    saved_model = saved_model_pb2.SavedModel()
    saved_model.meta_graphs.add().meta_info_def.tags.append("train")
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    with pytest.raises(op_audit.UnreadableModel, match="holds no graph tagged 'serve'"):
        op_audit.used_ops(tmp_path)
