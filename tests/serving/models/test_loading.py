"""A SavedModel loaded in pieces is the graph that TensorFlow's own loader makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from serving.model_server.models import loading

tf1 = tf.compat.v1
SERVE = [tf.saved_model.SERVING]


def described(graph_def: graph_pb2.GraphDef) -> dict[str, Any]:
    """What a graph is, in no order: nodes, what they take and how they are set, and functions."""
    nodes = {
        node.name: (
            node.op,
            list(node.input),
            sorted((k, v.SerializeToString(deterministic=True)) for k, v in node.attr.items()),
        )
        for node in graph_def.node
    }
    functions = {
        f.signature.name: [(node.name, node.op, list(node.input)) for node in f.node_def]
        for f in graph_def.library.function
    }
    gradients = {(g.function_name, g.gradient_func) for g in graph_def.library.gradient}
    return {"nodes": nodes, "functions": functions, "gradients": gradients}


def loaded(load: Callable[[Any, str], Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The graph, and what each signature without string inputs gives for ones."""
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        meta_graph = load(session, str(path))
        answers = {}
        for name, signature in meta_graph.signature_def.items():
            floats = [info for info in signature.inputs.values() if info.dtype == tf.float32.as_datatype_enum]
            if floats and len(floats) == len(signature.inputs):
                feeds = {info.name: [1.0, 1.0] for info in floats}
                fetches = {alias: info.name for alias, info in signature.outputs.items()}
                found = session.run(fetches, feeds)
                answers[name] = {alias: value.tolist() for alias, value in found.items()}
        signatures = {
            name: s.SerializeToString(deterministic=True) for name, s in meta_graph.signature_def.items()
        }
        collections = {key: len(graph.get_collection(key)) for key in graph.get_all_collection_keys()}
        return described(graph.as_graph_def()), {"answers": answers, "said": signatures, "kept": collections}


def tensorflows_own(session: Any, path: str) -> Any:
    return tf1.saved_model.load(session, SERVE, path)


def pieces_of(path: Path) -> list[list[str]]:
    saved = loading.loader_impl.SavedModelLoader(str(path))
    graph_def = saved.get_meta_graph_def_from_tags(SERVE).graph_def
    return [[node.name for node in nodes] for nodes in loading._pieces(graph_def)]


def save_v1(path: Path, build: Callable[[Any], Any]) -> Path:
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [2], name="x")
        weight = tf1.get_variable("w", initializer=[2.0, 3.0], use_resource=True)
        y = build(x * weight)
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(path), {"x": x}, {"y": y})
    return path


def with_loop(x: Any) -> Any:
    tf1.disable_control_flow_v2()
    try:
        return tf1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2), (0, x))[1]
    finally:
        tf1.enable_control_flow_v2()


def with_function(x: Any) -> Any:
    doubled = tf.function(lambda x: x * 2)
    return doubled(tf.identity(doubled(x), name="between"))


def with_second_output(x: Any) -> Any:
    return tf.identity(tf.function(lambda x: (x * 2, x * 3))(x)[1])


def with_colocation(x: Any) -> Any:
    y = with_function(x)
    with tf1.colocate_with(x.op, ignore_existing=True):
        return tf.identity(y)


def with_a_wait_for_what_has_no_output(x: Any) -> Any:
    y = with_function(x)
    with tf.control_dependencies([tf.no_op()]):
        return with_function(y)


def with_a_wait_for_a_call(x: Any) -> Any:
    y = with_function(x)
    with tf.control_dependencies([y]):
        return tf.identity(x) + y


def with_a_name_that_others_begin_with(x: Any) -> Any:
    x = tf.identity(x, name="PartitionedCall/inside")
    return tf.function(lambda x: x * 2)(x)


BUILDS: dict[Callable[[Any], Any], bool] = {
    tf.identity: False,
    with_function: True,
    with_second_output: True,
    with_a_wait_for_a_call: True,
    with_loop: False,
    with_colocation: False,
    with_a_wait_for_what_has_no_output: False,
    with_a_name_that_others_begin_with: False,
}


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_models_of_tensorflow_1_are_loaded_alike_in_pieces_or_whole(
    tmp_path: Path, build: Callable[[Any], Any]
) -> None:
    path = save_v1(tmp_path / "model", build)
    assert loaded(loading.load_graph, path) == loaded(tensorflows_own, path)
    assert (len(pieces_of(path)) > 1) == BUILDS[build]


def test_a_model_of_tensorflow_2_is_loaded_alike_each_call_by_itself(toy_path: Path) -> None:
    assert loaded(loading.load_graph, toy_path) == loaded(tensorflows_own, toy_path)
    pieces = pieces_of(toy_path)
    calls = {name for names in pieces for name in names if "PartitionedCall" in name}
    alone = {names[0] for names in pieces if len(names) == 1}
    assert len(calls) > 10
    assert calls <= alone


def test_a_setting_that_this_tensorflow_does_not_know_yet_is_left_out_where_it_says_nothing(
    tmp_path: Path,
) -> None:
    """As TensorFlow does with SavedModels of its next version."""
    path = save_v1(tmp_path / "model", with_function) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    meta_graph = saved.meta_graphs[0]
    ops = {op.name: op for op in meta_graph.meta_info_def.stripped_op_list.op}
    ops["Identity"].attr.add(name="of_the_next_version", type="int").default_value.i = 7
    next(node for node in meta_graph.graph_def.node if node.name == "between").attr[
        "of_the_next_version"
    ].i = 7
    path.write_bytes(saved.SerializeToString())
    assert loaded(loading.load_graph, path.parent) == loaded(tensorflows_own, path.parent)


def test_assets_and_tables_are_there(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")

    class Words(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            lines = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            file = tf.lookup.TextFileInitializer(str(words), tf.string, lines[0], tf.int64, lines[1])
            self.table = tf.lookup.StaticHashTable(file, default_value=-1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
        def serve(self, word: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"number": self.table.lookup(word)}

    model = Words()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.serve})
    words.unlink()
    with tf.Graph().as_default(), tf1.Session() as session:
        signature = loading.load_graph(session, str(tmp_path / "model")).signature_def["serving_default"]
        number = signature.outputs["number"].name
        found = session.run(number, {signature.inputs["word"].name: ["b", "z", "a"]})
    assert found.tolist() == [1, -1, 0]
