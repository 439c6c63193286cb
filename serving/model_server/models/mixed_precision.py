"""A loaded graph once more, computed in bfloat16 where that is safe, as --mixed_precision=bfloat16 asks for.

TF Serving sets the same option of TensorFlow's graph optimizer (tensorflow_serving/model_servers/server.cc) and
leaves it at that: the weights stay float32 variables and are cast in every call, which costs a small batch more
than it gains. Here they become constants first, so that they are cast once, and oneDNN keeps them in the layout
that it wants. What is only looked up in, as a table of embeddings is, stays as it was loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2

# Private, as is all of TensorFlow that optimizes a graph without running it.
from tensorflow.python.grappler import tf_optimizer

logger = logging.getLogger(__name__)

_PREFIX = "bfloat16"
# The optimizer fuses ops only where it is told on what they run.
_DEVICE = "/job:localhost/replica:0/task:0/device:CPU:0"
_FLOAT, _BFLOAT16 = tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum


def rewrite(
    session: tf.compat.v1.Session, signatures: Mapping[str, meta_graph_pb2.SignatureDef]
) -> dict[str, str]:
    """Adds a copy of the signatures' graph to the session, with weights and products in bfloat16.

    The variables that became constants are freed: from then on only the copy can be run.

    Args:
        session: with the graph loaded and its variables filled; its own graph optimizer should be off, because
            the copy is optimized already.
        signatures: what is to be run later.

    Returns:
        Name of a tensor of the copy by the name that a signature gives it.

    Raises:
        ValueError: the graph cannot be copied, because of a node or of a GPU; says which.
        tf.errors.OpError: TensorFlow could not optimize it.
    """
    if gpus := tf.config.list_physical_devices("GPU"):
        raise ValueError(
            f"--mixed_precision=bfloat16 is for CPUs, and TensorFlow sees {len(gpus)} GPUs: serve without this flag, "
            "or hide them with CUDA_VISIBLE_DEVICES=-1"
        )
    graph = session.graph
    called = [signature for signature in signatures.values() if signature.method_name]
    feeds = sorted({info.name for signature in called for info in signature.inputs.values() if info.name})
    outputs = sorted({info.name for signature in called for info in signature.outputs.values() if info.name})
    with graph.as_default():
        # Ops of the copy's own, because calls of functions, which most outputs are, are inlined.
        fetches = {name: tf.identity(graph.get_tensor_by_name(name)).name for name in outputs}
    kept = [_node_name(name) for name in (*feeds, *fetches.values())]
    inlined = _optimize(graph.as_graph_def(), kept=kept, rewrites=_inline())
    pruned = tf.compat.v1.graph_util.extract_sub_graph(inlined, kept)
    frozen = _freeze(pruned, session=session)
    pruned = tf.compat.v1.graph_util.extract_sub_graph(pruned, kept)  # without the handles of the frozen
    for node in pruned.node:
        node.device = _DEVICE
        _name_resource(node)
    optimized = _optimize(pruned, kept=kept, rewrites=_lower())
    if not any(node.attr["T"].type == _BFLOAT16 for node in optimized.node):
        logger.warning(
            "mixed_precision=bfloat16 changed nothing: not on this processor, or not in this model"
        )
    with graph.as_default():
        tf.import_graph_def(optimized, name=_PREFIX)
        handles = [graph.get_tensor_by_name(f"{name}:0") for name in frozen]
        session.run([tf.raw_ops.DestroyResourceOp(resource=handle) for handle in handles])
    return {name: f"{_PREFIX}/{copy}" for name, copy in {**{name: name for name in feeds}, **fetches}.items()}


def _optimize(
    graph_def: graph_pb2.GraphDef, *, kept: Iterable[str], rewrites: rewriter_config_pb2.RewriterConfig
) -> graph_pb2.GraphDef:
    """The graph as TensorFlow's optimizer leaves it; the nodes named in `kept` are in it still."""
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    meta_graph.collection_def["train_op"].node_list.value.extend(kept)  # where it looks for what is wanted
    rewrites.min_graph_nodes = -1  # small graphs, too
    options = config_pb2.GraphOptions(rewrite_options=rewrites)
    return tf_optimizer.OptimizeGraph(config_pb2.ConfigProto(graph_options=options), meta_graph)


def _inline() -> rewriter_config_pb2.RewriterConfig:
    """Functions only, but all of them: a variable that is an argument of a function cannot become a constant."""
    return rewriter_config_pb2.RewriterConfig(
        optimizers=["function"],
        function_optimization=rewriter_config_pb2.RewriterConfig.AGGRESSIVE,
        meta_optimizer_iterations=rewriter_config_pb2.RewriterConfig.ONE,
    )


def _lower() -> rewriter_config_pb2.RewriterConfig:
    """All that a session does by default, and bfloat16."""
    return rewriter_config_pb2.RewriterConfig(
        auto_mixed_precision_onednn_bfloat16=rewriter_config_pb2.RewriterConfig.ON,
        meta_optimizer_iterations=rewriter_config_pb2.RewriterConfig.TWO,
    )


def _freeze(graph_def: graph_pb2.GraphDef, *, session: tf.compat.v1.Session) -> list[str]:
    """Makes constants of the float32 variables that are only read as a whole; their names."""
    nodes = {node.name: node for node in graph_def.node}
    reads: dict[str, list[node_def_pb2.NodeDef]] = {}
    used_otherwise = set()
    for node in graph_def.node:
        if node.op == "Identity":  # its own readers are looked at
            continue
        for name in node.input:
            handle = _origin(name, nodes)
            if handle.op == "VarHandleOp" and not name.startswith("^"):
                if node.op == "ReadVariableOp" and handle.attr["dtype"].type == _FLOAT:
                    reads.setdefault(handle.name, []).append(node)
                else:
                    used_otherwise.add(handle.attr["shared_name"].s)
    # By the variables' names: two handles may be of one.
    frozen = sorted(name for name in reads if nodes[name].attr["shared_name"].s not in used_otherwise)
    with session.graph.as_default():
        handles = {name: session.graph.get_tensor_by_name(f"{name}:0") for name in frozen}
        values = session.run(
            {name: tf.raw_ops.ReadVariableOp(resource=handles[name], dtype=tf.float32) for name in frozen}
        )
    # What waits for a handle, as all that was inlined does, waits for nothing.
    waits = {f"^{name}" for name in frozen}
    for node in graph_def.node:
        inputs = [name for name in node.input if name not in waits]
        if len(inputs) < len(node.input):
            del node.input[:]
            node.input.extend(inputs)
    for name in frozen:
        constant = graph_def.node.add(name=f"{name}/value", op="Const")
        constant.attr["dtype"].type = _FLOAT
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values[name]))
        for node in reads[name]:
            node.op = "Identity"
            node.input[0] = constant.name
            node.attr.clear()
            node.attr["T"].type = _FLOAT
    return frozen


def _origin(name: str, nodes: Mapping[str, node_def_pb2.NodeDef]) -> node_def_pb2.NodeDef:
    """The node that an input comes from, past those that only pass it on."""
    node = nodes[_node_name(name)]
    while node.op == "Identity":
        node = nodes[_node_name(node.input[0])]
    return node


def _name_resource(node: node_def_pb2.NodeDef) -> None:
    """A variable or a table by the name of the original node, so that the copy finds what was loaded.

    Raises:
        ValueError: it cannot be found by any name.
    """
    if "shared_name" in node.attr and not node.attr["shared_name"].s:
        if "use_node_name_sharing" in node.attr and not node.attr["use_node_name_sharing"].b:
            raise ValueError(
                f"the {node.op} {node.name!r} has no shared_name, so that the model cannot be copied for "
                "--mixed_precision=bfloat16: serve it without this flag"
            )
        node.attr["shared_name"].s = node.name.encode()


def _node_name(name: str) -> str:
    return name.lstrip("^").partition(":")[0]
