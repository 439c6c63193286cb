"""The form in which an exported model computes: float32, or bfloat16 where TensorFlow holds that to be safe.

Grappler's auto_mixed_precision rewrites the encoder's graph once, at export, so that what is evaluated is what is
served. Its option alone, set in a server, leaves the weights float32 variables and casts them in every call, which
costs a lone text more than it gains; here they become constants first, are cast once, and oneDNN lays them out as it
likes. Only TensorFlow's public ops are left: a server fuses them for the processor that it runs on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf
import tf_keras
from bert_optimizer import check_precision, read_cpu_flags
from bert_task import ENCODER_INPUTS, ExportConfig
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2

# Private, as is all of TensorFlow that freezes or optimizes a graph without running it.
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.grappler import tf_optimizer

# The largest protobuf message, which a graph with its constants is.
_MAX_BYTES = 2**31 - 1
# Ops are only rewritten where it is known that they run on a CPU.
_DEVICE = "/job:localhost/replica:0/task:0/device:CPU:0"


@dataclasses.dataclass(frozen=True)
class Form:
    """A model in the form in which it is exported."""

    logits: Callable[[dict[str, tf.Tensor]], tf.Tensor]
    """ENCODER_INPUTS, int32 [batch, length] -> float32 [batch, num_labels]."""
    weights: list[tf.Variable]
    """What it computes with, besides constants."""


def check_form(export: ExportConfig) -> None:
    """Refuses a form that this machine cannot write; to be called before a training whose model it is for.

    Raises:
        ValueError: names the key, the value and the fix.
    """
    check_precision(export.form, has_gpu=False, cpu_flags=read_cpu_flags(), key="export.form")


def in_form(model: tf_keras.Model, *, form: str) -> Form:
    """Gives a model another form.

    Args:
        model: of `bert_model.build_model`, outside any distribution strategy.
        form: `ExportConfig.form`. In bfloat16 the head stays float32, and so do the tables of embeddings, which are
            only looked up in.

    Raises:
        ValueError: the weights are too large for one graph, or nothing of it became bfloat16.
    """
    if form == "float32":
        return Form(lambda inputs: model(inputs, training=False), model.weights)
    num_bytes = sum(weight.shape.num_elements() * weight.dtype.size for weight in model.weights)
    if num_bytes > _MAX_BYTES:
        raise ValueError(
            f"export.form = {form!r} writes the weights into the graph, which holds 2 GiB at most, and these have "
            f"{num_bytes / 2**30:.1f} GiB; use float32"
        )
    head = model.get_layer("head")
    encoder = tf_keras.Model(model.inputs, head.input)
    lowered, output = _bfloat16(encoder)
    tables = _as_variables(lowered)

    def logits(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        read = {f"{name}:0": table.read_value() for name, table in tables.items()}
        waited_for = {f"^{name}": tensor for name, tensor in inputs.items()}  # by what was inlined
        [features] = tf.graph_util.import_graph_def(
            lowered, input_map=inputs | read | waited_for, return_elements=[output], name=form
        )
        return head(tf.ensure_shape(features, encoder.output_shape))

    return Form(logits, [*tables.values(), *head.weights])


def _as_variables(lowered: graph_pb2.GraphDef) -> dict[str, tf.Variable]:
    """Makes placeholders of the constants that are only looked up in: a server holds a graph's constants several times.

    Returns:
        What to put for each placeholder, by its name.
    """
    nodes = {node.name: node for node in lowered.node}
    tables = {}
    for name in sorted({node.input[0] for node in lowered.node if node.op == "GatherV2"}):
        node = nodes.get(name)
        if node is not None and node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            tables[name] = tf.Variable(tf.make_ndarray(node.attr["value"].tensor), trainable=False)
            node.op = "Placeholder"
            del node.attr["value"]
    return tables


def _bfloat16(encoder: tf_keras.Model) -> tuple[graph_pb2.GraphDef, str]:
    """The encoder as a graph without variables, its placeholders named as ENCODER_INPUTS; and its output's name."""
    specs = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in ENCODER_INPUTS}
    function = tf.function(lambda **inputs: encoder(inputs, training=False))
    frozen = convert_to_constants.convert_variables_to_constants_v2(function.get_concrete_function(**specs))
    [output] = frozen.outputs
    graph_def = frozen.graph.as_graph_def()
    for node in graph_def.node:
        node.device = _DEVICE
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    # Where Grappler looks for what is wanted.
    meta_graph.collection_def["train_op"].node_list.value.extend([*specs, output.op.name])
    on, off = rewriter_config_pb2.RewriterConfig.ON, rewriter_config_pb2.RewriterConfig.OFF
    rewrites = rewriter_config_pb2.RewriterConfig(
        auto_mixed_precision_onednn_bfloat16=on,
        remapping=off,  # fused ops are for the processor that they run on
        layout_optimizer=off,
        meta_optimizer_iterations=rewriter_config_pb2.RewriterConfig.TWO,  # the second folds the weights' casts
        min_graph_nodes=-1,  # small graphs, too
    )
    options = config_pb2.GraphOptions(rewrite_options=rewrites)
    lowered = tf_optimizer.OptimizeGraph(config_pb2.ConfigProto(graph_options=options), meta_graph)
    for node in lowered.node:
        node.device = ""
    products = [node for node in lowered.node if node.op == "MatMul"]
    if not any(node.attr["T"].type == tf.bfloat16.as_datatype_enum for node in products):
        raise ValueError(
            "export.form = 'bfloat16' changed nothing of this encoder: TensorFlow found no product that it could "
            "lower, or its oneDNN is switched off (TF_ENABLE_ONEDNN_OPTS=0); use float32"
        )
    return lowered, output.name
