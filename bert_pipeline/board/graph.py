"""The graph of an exported model as TensorBoard can show it: one signature, its functions unfolded."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from pathlib import Path

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")

# The name that TensorFlow gives to the node of a call.
_CALL_NAME = re.compile(r"(Stateful)?PartitionedCall(_\d+)?$")

# Functions that saving and restoring wrap around others; they get no box of their own.
_WRAPPERS = ("signature_wrapper", "restored_function_body")

# Bytes of an attribute beyond which it is left out: vocabularies and tables, which nobody looks at there.
_MAX_ATTRIBUTE_BYTES = 1024


def read_graph(saved_model_dir: Path, *, signature: str = "serving_default") -> graph_pb2.GraphDef:
    """Reads the graph of one signature, from the raw text to the probabilities; loads no weights.

    TensorBoard draws a call of a function as one opaque box. Here the function's nodes stand in the place of
    the call, under its name: `serving_default/classify/bert_classifier/encoder/encode/layer_0/attention/...`.

    Args:
        saved_model_dir: folder of the SavedModel.
        signature: name of the signature.

    Raises:
        OSError: there is no SavedModel.
        KeyError: it has no such signature.
    """
    saved_model = saved_model_pb2.SavedModel.FromString((saved_model_dir / "saved_model.pb").read_bytes())
    meta_graph = saved_model.meta_graphs[0]
    if signature not in meta_graph.signature_def:
        raise KeyError(f"{saved_model_dir} has no signature {signature!r}")
    output = next(iter(meta_graph.signature_def[signature].outputs.values()))
    top = {node.name: node for node in meta_graph.graph_def.node}
    call = top[output.name.partition(":")[0]]
    unfolded = _Unfolded(meta_graph.graph_def.library)
    for name in call.input:
        unfolded.add(top[name.partition(":")[0]], name=name.partition(":")[0], inputs=[])
    unfolded.call(_function_of(call), inputs=list(call.input), scope="")
    return unfolded.graph


def _function_of(node: node_def_pb2.NodeDef) -> str:
    return node.attr["f"].func.name if node.op in _CALLS else ""


def _title(function: str) -> str:
    """`__inference_classify_23291` -> classify; empty for a wrapper."""
    title = re.sub(r"^__(inference|forward)_+|_\d+$", "", function)
    return "" if title.startswith(_WRAPPERS) else title


class _Unfolded:
    """A graph that grows by the bodies of functions."""

    def __init__(self, library: graph_pb2.GraphDef) -> None:
        self.graph = graph_pb2.GraphDef()
        self._functions = {function.signature.name: function for function in library.function}
        self._num_calls: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, node: node_def_pb2.NodeDef, *, name: str, inputs: Sequence[str]) -> None:
        """Adds a copy of a node under another name, with other inputs."""
        added = self.graph.node.add()
        added.CopyFrom(node)
        added.name = name
        del added.input[:]
        added.input.extend(inputs)
        for key in [k for k, v in added.attr.items() if v.ByteSize() > _MAX_ATTRIBUTE_BYTES]:
            del added.attr[key]

    def call(self, function: str, *, inputs: Sequence[str], scope: str) -> list[str]:
        """Adds the body of a function.

        Args:
            function: its name.
            inputs: the nodes that it is called with, by their names in the graph.
            scope: put before the names of the body's nodes; empty, or ends in `/`.

        Returns:
            The name in the graph of the node behind each of its outputs.
        """
        definition = self._functions[function]
        title = _title(function)
        number = self._num_calls[scope, title]
        self._num_calls[scope, title] += 1
        if number:  # as TensorFlow numbers what has the same name
            title = f"{title or 'call'}_{number}"
        body = _Body(self, definition, inputs, scope=f"{scope}{title}/" if title else scope)
        for node in definition.node_def:
            body.place(node.name)
        return [body.resolve(definition.ret[out.name]) for out in definition.signature.output_arg]


class _Body:
    """One call of a function, as it is unfolded."""

    def __init__(
        self, unfolded: _Unfolded, definition: function_pb2.FunctionDef, inputs: Sequence[str], *, scope: str
    ) -> None:
        self._unfolded = unfolded
        self._nodes = {node.name: node for node in definition.node_def}
        # Control inputs come after the others, and have no argument.
        self._arguments = dict(zip((a.name for a in definition.signature.input_arg), inputs, strict=False))
        self._scope = scope
        self._placed: dict[str, list[str]] = {}

    def place(self, name: str) -> list[str]:
        """Adds a node and what it reads, once; gives the name in the graph of each of its outputs."""
        if name not in self._placed:
            node = self._nodes[name]
            inputs = [self.resolve(ref) for ref in node.input]
            function = _function_of(node)
            if function:
                prefix, _, last = name.rpartition("/")
                inner = "/".join(part for part in (prefix, "" if _CALL_NAME.match(last) else last) if part)
                scope = f"{self._scope}{inner}/" if inner else self._scope
                self._placed[name] = self._unfolded.call(function, inputs=inputs, scope=scope)
            else:
                self._unfolded.add(node, name=self._scope + name, inputs=inputs)
                self._placed[name] = []
        return self._placed[name]

    def resolve(self, ref: str) -> str:
        """`node:output:2`, an argument or `^node` of a body -> the name of a node of the graph."""
        control = ref.startswith("^")
        name, _, output = ref.lstrip("^").partition(":")
        if name in self._arguments:
            return self._arguments[name]
        outputs = self.place(name)
        if not outputs:
            return f"^{self._scope}{name}" if control else self._scope + name
        found = outputs[0] if control else outputs[int(output.rpartition(":")[2])]
        return f"^{found.lstrip('^')}" if control else found
