"""One loaded version of a model: its signatures, and calling them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

# Registers the ops of TensorFlow Text, which TF Serving has built in.
import tensorflow_text  # noqa: F401
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.model_server import errors, tensors, warmup

DEFAULT_SIGNATURE = "serving_default"

# The names of Classify and Regress signatures may be called by Predict as well, as in TF Serving.
_CALLABLE_METHODS = frozenset(f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


class Servable:
    """A SavedModel in a TF1 session of its own.

    The session is what TF Serving itself uses: it loads any SavedModel, does not check declared shapes
    against fed ones, and gives its memory back when it is closed.
    """

    def __init__(self, path: str, *, name: str, version: int) -> None:
        """Loads the SavedModel tagged `serve` and replays its warm-up requests.

        Args:
            path: folder with saved_model.pb.
            name: of the model, for answers.
            version: of the model, for answers.

        Raises:
            LoadError: the files, the graph or a warm-up request failed; says which and how.
        """
        self.name = name
        self.version = version
        self._calls: dict[tuple[str, tuple[str, ...]], Any] = {}
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], path)
            self.signatures = _callable_signatures(meta_graph)
            warmup.replay(path, predict=self.predict)
        except Exception as error:
            self._session.close()
            raise LoadError(_one_line(error)) from error

    def close(self) -> None:
        """Frees the session; no call may be under way."""
        self._calls.clear()
        self._session.close()

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature called `name`; "" is the default one.

        Raises:
            ServingError: FAILED_PRECONDITION; there is none.
        """
        key = name or DEFAULT_SIGNATURE
        if key not in self.signatures:
            message = f'Serving signature key "{key}" not found.'
            raise errors.ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)
        return self.signatures[key]

    def predict(
        self,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        *,
        signature_name: str = "",
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
            inputs: tensor by alias; exactly the signature's.
            signature_name: "" is the default one.
            output_filter: aliases to compute; none: all.

        Returns:
            Array by alias; strings as objects (bytes).

        Raises:
            ServingError: the request does not fit the signature, or the graph failed on it.
        """
        signature = self.signature(signature_name)
        _check_aliases(inputs, signature=signature)
        # Sorted, as TF Serving's arguments are: error messages count them.
        aliases = sorted(signature.inputs)
        arrays = [tensors.to_array(inputs[alias], alias=alias) for alias in aliases]
        for position, alias in enumerate(aliases):
            _check_dtype(inputs[alias].dtype, signature.inputs[alias].dtype, position=position)
        outputs = _check_outputs(output_filter, signature=signature)
        call = self._callable(signature_name or DEFAULT_SIGNATURE, aliases, outputs)
        try:
            return dict(zip(outputs, call(*arrays), strict=True))
        except tf.errors.OpError as error:
            raise errors.from_tensorflow(error) from error

    def _callable(self, signature_name: str, inputs: Sequence[str], outputs: tuple[str, ...]) -> Any:
        """The session's handle for these outputs, made once; only these outputs are computed."""
        key = (signature_name, outputs)
        if key not in self._calls:
            signature = self.signatures[signature_name]
            options = config_pb2.CallableOptions(
                feed=[signature.inputs[alias].name for alias in inputs],
                fetch=[signature.outputs[alias].name for alias in outputs],
            )
            # Private, but the only way past the Python session's shape checks and its per-call overhead.
            self._calls[key] = self._session._make_callable_from_options(options)
        return self._calls[key]


class LoadError(Exception):
    """A version that cannot be served; the message is one line."""


def _callable_signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    return {
        name: signature
        for name, signature in meta_graph.signature_def.items()
        if signature.method_name in _CALLABLE_METHODS
    }


def _check_aliases(inputs: Mapping[str, Any], *, signature: meta_graph_pb2.SignatureDef) -> None:
    sent, wanted = set(inputs), set(signature.inputs)
    if len(sent) != len(wanted):
        raise errors.invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{_join(sent)}}}) != len({{{_join(wanted)}}}). "
            f"Sent extra: {{{_join(sent - wanted)}}}. Missing but required: {{{_join(wanted - sent)}}}."
        )
    for alias in sorted(wanted - sent):
        raise errors.invalid_argument(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {{{_join(sent)}}}, or default "
            "input alias set: "
        )


def _check_outputs(wanted: Sequence[str], *, signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise errors.invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_join(signature.outputs)}}}."
            )
        if alias in itertools.islice(wanted, position):
            raise errors.invalid_argument(f"duplicate output tensor alias: {alias}")
    return tuple(sorted(wanted or signature.outputs))


def _check_dtype(given: int, expected: int, *, position: int) -> None:
    if given != expected:
        names = tensors.dtype_name(expected), tensors.dtype_name(given)
        raise errors.invalid_argument(f"Expects arg[{position}] to be {names[0]} but {names[1]} is provided")


def _join(names: Any) -> str:
    return ",".join(sorted(names))


def _one_line(error: Exception) -> str:
    message = error.message if isinstance(error, (tf.errors.OpError, errors.ServingError)) else str(error)
    first = next((line.strip() for line in message.splitlines() if line.strip()), "")
    return first or type(error).__name__
