"""Loading a SavedModel: a session's threads, its graph, and warm-up: real requests that lie with a model.

The graph is loaded in steps short enough for requests to be answered between them.

`tf.compat.v1.saved_model.load` imports the whole graph in one call that holds Python's lock: 35 ms for a BERT with
three signatures, nearly all of it to infer shapes through the functions that the graph calls. A request needs the
lock several times: p99 while another version loads is then 45 ms, and 27 ms where the graph is imported piece by piece,
each call of a function by itself (idle: 11 ms; `make soak` wants at most three times that). For the rest it is
TensorFlow's own loader.
"""

from __future__ import annotations

import dataclasses
import graphlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import tensorflow as tf
from google.protobuf import message as protobuf_message
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2, op_def_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

# Private, but the only way to have its steps one by one.
from tensorflow.python.saved_model import loader_impl
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from serving.model_server import errors
from serving.model_server.config.settings import (
    BatchingParameters,
    default_num_batch_threads,
    usable_processors,
)
from serving.model_server.models import inference

if TYPE_CHECKING:  # it replays while it loads
    from serving.model_server.models.servable import Servable, SignatureCall

# As inter_op_parallelism_threads of a session: no threads besides.
_IN_THE_CALLING_THREAD = -1


@dataclasses.dataclass(frozen=True)
class SessionThreads:
    """TensorFlow's threads; the first session of a process decides for all."""

    intra_op: int = 0
    """Threads that share one op; 0: the processors divided by the calls that run at the same time."""

    inter_op: int = 0
    """Threads on which ops of one call run side by side; 0: none, the thread that calls runs them all.

    A BERT is a chain of ops, and a hand-over to another thread costs: measured with a MiniLM classifier on two
    processors, 4.6 ms for a lone text in the thread that calls, 5.0 ms with TensorFlow's own threads.
    """


def session_config(threads: SessionThreads, *, batching: BatchingParameters | None) -> config_pb2.ConfigProto:
    """The threads of a session that runs as many calls at a time as there are batch threads."""
    calls = batching.num_batch_threads if batching else default_num_batch_threads()
    intra_op = threads.intra_op or max(1, usable_processors() // calls)
    return config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op,
        inter_op_parallelism_threads=threads.inter_op or _IN_THE_CALLING_THREAD,
    )


Nodes = list[node_def_pb2.NodeDef]

_TAGS = [tf.saved_model.SERVING]


def load_graph(session: tf.compat.v1.Session, path: str) -> meta_graph_pb2.MetaGraphDef:
    """Imports the graph tagged `serve`, restores its variables and runs its initializer.

    Args:
        session: of an empty graph.
        path: folder with saved_model.pb.

    Returns:
        What the SavedModel says of itself: signatures and all else but the graph, which is in the session.

    Raises:
        OSError, ValueError, RuntimeError, tf.errors.OpError: as `tf.compat.v1.saved_model.load`.
    """
    loader = loader_impl.SavedModelLoader(path)
    meta_graph = loader.get_meta_graph_def_from_tags(_TAGS)
    graph_def = meta_graph.graph_def
    with session.graph.as_default():
        _import(graph_def, producer=meta_graph.meta_info_def.stripped_op_list)
        # What is left for TensorFlow's own import: collections, and how variables are restored.
        graph_def.ClearField("node")
        graph_def.ClearField("library")
        saver = tf.compat.v1.train.import_meta_graph(meta_graph)
    loader.restore_variables(session, saver)
    loader.run_init_ops(session, _TAGS)
    return meta_graph


def _import(graph_def: graph_pb2.GraphDef, *, producer: op_def_pb2.OpList) -> None:
    """Adds a graph to the current one, its functions first."""
    for library in _libraries(graph_def.library):
        part = graph_pb2.GraphDef(versions=graph_def.versions, library=library)
        tf.graph_util.import_graph_def(part, name="", producer_op_list=producer)
    for nodes in _pieces(graph_def):
        piece = graph_pb2.GraphDef(versions=graph_def.versions, node=nodes)
        tf.graph_util.import_graph_def(
            piece, name="", input_map=_from_before(nodes), producer_op_list=producer
        )


def _libraries(library: function_pb2.FunctionDefLibrary) -> Iterator[function_pb2.FunctionDefLibrary]:
    """The functions one by one; together where some are gradients of others, as in TensorFlow 1."""
    if library.gradient:
        yield library
    else:
        for function in library.function:
            yield function_pb2.FunctionDefLibrary(function=[function])


def _pieces(graph_def: graph_pb2.GraphDef) -> list[Nodes]:
    """The nodes in an order in which they can be imported, each call of a function by itself.

    All in one piece where several would not give the same graph: a loop of TensorFlow 1 cannot be cut; a node may be
    bound to others by more than their outputs; and one whose name begins the name of another that is there already
    would be renamed.
    """
    whole = [list(graph_def.node)]
    ordered = _in_order(graph_def.node)
    if ordered is None:
        return whole
    functions = {function.signature.name for function in graph_def.library.function}
    # To look for an attribute by its name alone would add it.
    calls = {node.name for node in ordered if "f" in node.attr and node.attr["f"].func.name in functions}
    # How many calls come before a node, one after the other: nodes of one level do not need each other's calls.
    levels: dict[str, int] = {}
    for node in ordered:
        levels[node.name] = max((levels[s] + (s in calls) for s in map(_source, node.input)), default=0)
    pieces: list[Nodes] = []
    for level in range(max(levels.values(), default=0) + 1):
        of_level = [node for node in ordered if levels[node.name] == level]
        pieces.append([node for node in of_level if node.name not in calls])
        pieces += [[node] for node in of_level if node.name in calls]
    with_outputs = {_source(name) for node in ordered for name in node.input if not _is_control(name)}
    beginnings: set[str] = set()
    for piece in pieces:
        names = {node.name for node in piece}
        controls = {_source(name) for node in piece for name in node.input if _is_control(name)}
        if names & beginnings or controls - names - with_outputs or _neighbours(piece) - names:
            return whole
        beginnings.update(*map(_beginnings, names))
    return [piece for piece in pieces if piece]


def _in_order(nodes: Iterable[node_def_pb2.NodeDef]) -> Nodes | None:
    """Each node after those whose outputs it takes; None where they form a circle."""
    by_name = {node.name: node for node in nodes}
    try:
        names = graphlib.TopologicalSorter(
            {name: {_source(given) for given in node.input} for name, node in by_name.items()}
        ).static_order()
        return [by_name[name] for name in names]
    except graphlib.CycleError:
        return None


def _from_before(nodes: Nodes) -> dict[str, tf.Tensor]:
    """The inputs of a piece that are in the current graph already, by the names that its nodes give them."""
    own = {node.name for node in nodes}
    graph = tf.compat.v1.get_default_graph()
    found = {}
    for name in {name for node in nodes for name in node.input}:
        if _source(name) not in own:
            port = name.partition(":")[2] or "0"
            key = name if _is_control(name) else f"{_source(name)}:{port}"
            found[key] = graph.get_tensor_by_name(f"{_source(name)}:{0 if _is_control(name) else port}")
    return found


def _neighbours(nodes: Nodes) -> set[str]:
    """The nodes beside which some are to be placed."""
    places = [
        place.decode() for node in nodes if "_class" in node.attr for place in node.attr["_class"].list.s
    ]
    return {place.removeprefix("loc:@") for place in places}


def _source(name: str) -> str:
    """The node that an input comes from."""
    return name.lstrip("^").partition(":")[0]


def _is_control(name: str) -> bool:
    return name.startswith("^")


def _beginnings(name: str) -> list[str]:
    """`a` and `a/b` of `a/b/c`."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


# https://www.tensorflow.org/tfx/serving/saved_model_warmup
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_REQUESTS = 1000


class WarmupError(Exception):
    """A warm-up file that cannot be replayed."""


def replay_warmup(servable: Servable, *, path: str) -> int:
    """Replays the model's warm-up requests, if it has any: of Predict, Classify, Regress and MultiInference.

    Args:
        servable: whose requests they are; not in use yet.
        path: folder of the SavedModel.

    Returns:
        Number of requests replayed.

    Raises:
        WarmupError: a record is not a PredictionLog, its request failed, or there are more than MAX_REQUESTS.
    """
    file = os.path.join(path, WARMUP_FILE)
    if not os.path.exists(file):
        return 0
    count = 0
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(file), start=1):
            if count > MAX_REQUESTS:
                raise WarmupError(f"{WARMUP_FILE} holds more than {MAX_REQUESTS} requests")
            _replay_one(servable, record, number=count)
    except tf.errors.DataLossError as error:
        raise WarmupError(f"{WARMUP_FILE} is not a TFRecord file after {count} requests: {error}") from error
    return count


def _replay_one(servable: Servable, record: bytes, *, number: int) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except protobuf_message.DecodeError as error:
        raise WarmupError(f"warm-up request {number} is not a PredictionLog: {error}") from error
    try:
        _run(servable, log, number=number)
    except errors.ServingError as error:
        raise WarmupError(f"warm-up request {number} failed: {error.code.name}: {error.message}") from error


def _run(servable: Servable, log: prediction_log_pb2.PredictionLog, *, number: int) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        servable.predict(
            request.inputs,
            signature_name=request.model_spec.signature_name,
            output_filter=tuple(request.output_filter),
        )
    elif kind == "classify_log":
        request = log.classify_log.request
        _infer(request.input, inference.classify_call(servable, request.model_spec.signature_name))
    elif kind == "regress_log":
        request = log.regress_log.request
        _infer(request.input, inference.regress_call(servable, request.model_spec.signature_name))
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for call in inference.multi_calls(servable, request):
            _infer(request.input, call)
    else:
        raise WarmupError(
            f"warm-up request {number} is a {kind}; give predict_log, classify_log, regress_log or "
            "multi_inference_log"
        )


def _infer(request_input: input_pb2.Input, call: SignatureCall) -> None:
    call.function(inference.serialized(request_input))
