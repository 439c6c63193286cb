"""One loaded version of a model: its signatures, and calling them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow_serving.apis import model_pb2

from serving.model_server import errors
from serving.model_server.batching.queue import Call
from serving.model_server.batching.scheduler import Scheduler
from serving.model_server.config.settings import BatchingParameters
from serving.model_server.errors import ServingError
from serving.model_server.models import tensors
from serving.model_server.models.loading import SessionThreads, load_graph, replay_warmup, session_config
from serving.model_server.models.tensors import CLASSIFY, DEFAULT_SIGNATURE, PREDICT, REGRESS


def late(make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that is made when it is first called, in that thread, and once.

    TensorFlow optimizes the graph for it, which takes a second for a BERT: no work for the event loop.
    """
    lock = threading.Lock()
    made: list[Callable[..., Any]] = []

    def call(*arrays: np.ndarray) -> Any:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0](*arrays)

    return call


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with TensorFlow's errors as ServingError."""

    def call(*arrays: np.ndarray) -> Any:
        try:
            outputs = function(*arrays)
        except tf.errors.OpError as error:
            raise errors.from_tensorflow(error) from error
        except UnicodeDecodeError as error:
            # The graph failed, and its message quotes bytes of the request that are not UTF-8: TensorFlow
            # cannot make its own error of it, and the code is lost.
            raise errors.invalid_argument(error.object.decode("utf-8", "replace")) from error
        # A session gives a lone string as bytes, and all else as arrays.
        return [np.array(value, dtype=object) if isinstance(value, bytes) else value for value in outputs]

    return call


class LoadError(Exception):
    """A version that cannot be served; the message is one line."""


@dataclasses.dataclass(eq=False, kw_only=True)
class SignatureCall(Call):
    """Some outputs of one signature of one servable."""

    signature_name: str
    """Resolved: never empty."""

    inputs: tuple[str, ...]
    """Aliases of the inputs, in the order of the arrays."""

    outputs: tuple[str, ...]
    """Aliases of the outputs, in the order of the arrays."""

    signature: meta_graph_pb2.SignatureDef


class Servable:
    """A SavedModel in a TF1 session of its own.

    The session is what TF Serving itself uses: it loads any SavedModel, does not check declared shapes
    against fed ones, and gives its memory back when it is closed.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str,
        version: int,
        batching: BatchingParameters | None = None,
        threads: SessionThreads | None = None,
        check_method_names: bool = False,
    ) -> None:
        """Loads the SavedModel tagged `serve` and replays its warm-up requests.

        Args:
            path: folder with saved_model.pb.
            name: of the model, for answers.
            version: of the model, for answers.
            batching: None runs each request alone.
            threads: of TensorFlow.
            check_method_names: whether a signature serves only the method that it was exported for; TensorFlow 2
                exports all of them for Predict.

        Raises:
            LoadError: the files, the graph or a warm-up request failed; says which and how.
        """
        self.name = name
        self.version = version
        self.path = path
        self.check_method_names = check_method_names
        self._calls: dict[tuple[str, tuple[str, ...]], SignatureCall] = {}
        graph = tf.Graph()
        config = session_config(threads or SessionThreads(), batching=batching)
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            meta_graph = load_graph(self._session, path)
            self.signatures = dict(meta_graph.signature_def)
            replay_warmup(self, path=path)
        except Exception as error:
            self._session.close()
            raise LoadError(_one_line(error)) from error
        self.scheduler = Scheduler(batching=batching, name=f"{name} {version}")
        self.loaded_at = time.time()

    def close(self) -> None:
        """Waits for calls under way, whose callers may be gone already, and frees the session."""
        self.scheduler.close()
        self._calls.clear()
        self._session.close()

    def spec(self, signature_name: str = "") -> model_pb2.ModelSpec:
        """What an answer says of who gave it: name, version, and signature."""
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature_name)
        spec.version.value = self.version
        return spec

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature called `name`, as Predict asks for it; "" is the default one.

        Raises:
            ServingError: FAILED_PRECONDITION; there is none.
        """
        return find_signature(self.signatures, name)

    def call(self, signature_name: str = "", output_filter: Sequence[str] = ()) -> SignatureCall:
        """What computes some outputs of a signature; made once, and only these outputs are computed.

        Args:
            signature_name: "" is the default one.
            output_filter: aliases to compute; none: all.

        Raises:
            ServingError: no such signature or output.
        """
        signature = self.signature(signature_name)
        outputs = check_outputs(output_filter, signature=signature)
        key = (signature_name or DEFAULT_SIGNATURE, outputs)
        if key not in self._calls:
            # Sorted, as TF Serving's arguments are: error messages count them.
            inputs = tuple(sorted(signature.inputs))
            options = config_pb2.CallableOptions(
                feed=[signature.inputs[alias].name for alias in inputs],
                fetch=[signature.outputs[alias].name for alias in outputs],
            )
            self._calls[key] = SignatureCall(
                # Private, but the only way past the Python session's shape checks and its per-call overhead.
                function=guarded(late(lambda: self._session._make_callable_from_options(options))),
                batchable=is_batchable(signature, outputs=outputs),
                signature_name=key[0],
                inputs=inputs,
                outputs=outputs,
                signature=signature,
            )
        return self._calls[key]

    def predict(
        self,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        *,
        signature_name: str = "",
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Calls a signature at once, in this thread, past the queue.

        Args:
            inputs: tensor by alias; exactly the signature's.
            signature_name: "" is the default one.
            output_filter: aliases to compute; none: all.

        Returns:
            Array by alias; strings as objects (bytes).

        Raises:
            ServingError: the request does not fit the signature, or the graph failed on it.
        """
        call = self.call(signature_name, output_filter)
        arrays = read_inputs(inputs, signature=call.signature)
        check_ranks(arrays, signature=call.signature)
        outputs = call.function(*arrays)
        return dict(zip(call.outputs, outputs, strict=True))

    async def run(
        self, call: SignatureCall, arrays: Sequence[np.ndarray], *, deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Runs a call through the queue.

        Args:
            call: of this servable.
            arrays: in the order of `call.inputs`; strings as objects.
            deadline: second of `time.monotonic`; None is never.

        Returns:
            Array by alias of output.

        Raises:
            ServingError: as `Scheduler.run`.
        """
        check_ranks(arrays, signature=call.signature)
        outputs = await self.scheduler.run(call, arrays, deadline=deadline)
        return dict(zip(call.outputs, outputs, strict=True))


def find_signature(
    signatures: Mapping[str, meta_graph_pb2.SignatureDef], name: str
) -> meta_graph_pb2.SignatureDef:
    """The signature called `name`, as Predict asks for it; "" is the default one.

    Those of Classify and Regress may be called by Predict as well.

    Raises:
        ServingError: FAILED_PRECONDITION, there is none; INTERNAL, it cannot be called.
    """
    key = name or DEFAULT_SIGNATURE
    if key not in signatures:
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    method = signatures[key].method_name
    if method not in (PREDICT, CLASSIFY, REGRESS):
        wanted = f"{PREDICT}, {CLASSIFY}, {REGRESS}"
        raise ServingError(
            grpc.StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{wanted}}}. Was: {method}",
        )
    return signatures[key]


def is_batchable(signature: meta_graph_pb2.SignatureDef, *, outputs: Iterable[str]) -> bool:
    """Whether the declared shapes say that rows go in and come out: [-1, ...] for every input and output.

    An output of fixed size would come out of a batch once for all requests, and by chance with as many values
    as the batch has rows; so what is not declared to have rows is not batched. TF Serving batches
    everything, and fails or misleads there.
    """
    infos = [*signature.inputs.values(), *(signature.outputs[alias] for alias in outputs)]
    shapes = [info.tensor_shape for info in infos]
    return bool(infos) and all(
        not shape.unknown_rank and shape.dim and shape.dim[0].size == -1 for shape in shapes
    )


def read_inputs(
    inputs: Mapping[str, tensor_pb2.TensorProto], *, signature: meta_graph_pb2.SignatureDef
) -> list[np.ndarray]:
    """Reads a request's tensors; those that the signature has defaults for may be missing.

    Args:
        inputs: tensor by alias.
        signature: whose inputs they are.

    Returns:
        Arrays in the order of the sorted aliases; strings as objects (bytes).

    Raises:
        ServingError: INVALID_ARGUMENT; missing, unexpected, malformed, or of another dtype.
    """
    _check_aliases(inputs, signature=signature)
    aliases = sorted(signature.inputs)
    protos = [inputs[a] if a in inputs else signature.defaults[a] for a in aliases]
    arrays = [tensors.to_array(proto, alias=alias) for proto, alias in zip(protos, aliases, strict=True)]
    dtypes = [proto.dtype for proto in protos]
    check_dtypes(dtypes, signature=signature)
    return arrays


def order_arrays(
    arrays: Mapping[str, np.ndarray], *, signature: meta_graph_pb2.SignatureDef
) -> list[np.ndarray]:
    """As `read_inputs`, from arrays.

    Raises:
        ServingError: INVALID_ARGUMENT; missing, unexpected, or of another dtype.
    """
    _check_aliases(arrays, signature=signature)
    aliases = sorted(signature.inputs)
    ordered = [arrays[a] if a in arrays else tf.make_ndarray(signature.defaults[a]) for a in aliases]
    check_dtypes([tf.dtypes.as_dtype(a.dtype).as_datatype_enum for a in ordered], signature=signature)
    return ordered


def check_dtypes(dtypes: Sequence[int], *, signature: meta_graph_pb2.SignatureDef) -> None:
    """Checks DataType numbers in the order of the sorted aliases.

    Raises:
        ServingError: INVALID_ARGUMENT; names the first that differs.
    """
    for position, (alias, given) in enumerate(zip(sorted(signature.inputs), dtypes, strict=True)):
        expected = signature.inputs[alias].dtype
        if given != expected:
            names = tensors.dtype_name(expected), tensors.dtype_name(given)
            raise errors.invalid_argument(
                f"Expects arg[{position}] to be {names[0]} but {names[1]} is provided"
            )


def check_ranks(arrays: Sequence[np.ndarray], *, signature: meta_graph_pb2.SignatureDef) -> None:
    """Checks arrays in the order of the sorted aliases: a kernel that gets another rank may end the process.

    Raises:
        ServingError: INVALID_ARGUMENT; names the first that has another rank than the signature says.
    """
    for alias, array in zip(sorted(signature.inputs), arrays, strict=True):
        shape = signature.inputs[alias].tensor_shape
        if not shape.unknown_rank and len(shape.dim) != array.ndim:
            sizes = ",".join(str(dim.size) for dim in shape.dim)
            raise errors.invalid_argument(
                f"input {alias} has shape [{','.join(map(str, array.shape))}], of rank {array.ndim}; "
                f"the signature's [{sizes}] has rank {len(shape.dim)}"
            )


def check_outputs(wanted: Sequence[str], *, signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    """The outputs that an `output_filter` asks for, sorted; an empty one asks for all.

    Raises:
        ServingError: INVALID_ARGUMENT; unknown or twice.
    """
    seen: set[str] = set()
    for alias in wanted:
        if alias not in signature.outputs:
            raise errors.invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_join(signature.outputs)}}}."
            )
        if alias in seen:
            raise errors.invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(sorted(wanted or signature.outputs))


def _check_aliases(inputs: Collection[str], *, signature: meta_graph_pb2.SignatureDef) -> None:
    sent, wanted = set(inputs), set(signature.inputs)
    if sent == wanted:
        return
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise errors.invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{_join(sent)}}}) != len({{{_join(wanted)}}}). "
            f"Sent extra: {{{_join(sent - wanted)}}}. Missing but required: {{{_join(wanted - sent)}}}."
        )
    for alias in sorted(wanted - sent - set(signature.defaults)):
        raise errors.invalid_argument(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {{{_join(sent)}}}, or default "
            f"input alias set: {_join(signature.defaults)}"
        )
    if sent - wanted:
        raise errors.invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_join(sent & wanted)}, "
            f"request input: {_join(sent)}"
        )


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _one_line(error: BaseException) -> str:
    # A session wraps the error of an op in one whose first line is "Graph execution error:".
    while isinstance(error, tf.errors.OpError) and isinstance(error.__context__, tf.errors.OpError):
        error = error.__context__
    message = error.message if isinstance(error, (tf.errors.OpError, errors.ServingError)) else str(error)
    first = next((line.strip() for line in message.splitlines() if line.strip()), "") or type(error).__name__
    return (
        f"a file of variables is cut off: {first}" if isinstance(error, tf.errors.OutOfRangeError) else first
    )
