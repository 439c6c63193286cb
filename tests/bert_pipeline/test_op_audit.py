"""The op audit, on real SavedModels and on the committed lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.core.protobuf import saved_model_pb2

from bert_pipeline.components import op_audit
from bert_pipeline.errors import UserError


def save(function: object, folder: Path) -> Path:
    module = tf.Module()
    module.serve = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def test_op_newer_than_the_release_is_named(tmp_path: Path) -> None:
    def trim(texts: tf.Tensor) -> tf.Tensor:
        segments = tf.strings.split(texts)
        return tf_text.RoundRobinTrimmer(3).trim([segments, segments])[0].to_tensor()

    folder = save(trim, tmp_path)
    assert op_audit.missing_ops(folder, tf_serving_version="2.16.1") == ["TFText>RoundRobinTrim"]


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
        "serving.tf_serving_version: there is no op list for '9.9.9'; known: 2.16.1. "
        "To add one, make tf_serving_ops/9.9.9/ as tf_serving_ops/list_ops.py says"
    )


def test_lists_hold_the_ops_of_the_two_packages() -> None:
    allowed = op_audit._read_lists("2.16.1")
    assert len(allowed) == 1891 + 35
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
