"""One loaded version of a model: its signatures, and calling them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow_serving.apis import model_pb2

from serving.model_server import errors
from serving.model_server.batching.parameters import (
    BatchingParameters,
    default_num_batch_threads,
    usable_processors,
)
from serving.model_server.batching.queue import Call
from serving.model_server.batching.scheduler import Scheduler
from serving.model_server.models import graph_loading, signatures, warmup
from serving.model_server.models.signatures import DEFAULT_SIGNATURE


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


__all__ = ["LoadError", "Servable", "SessionThreads", "SignatureCall"]

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
        config = _session_config(threads or SessionThreads(), batching=batching)
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            meta_graph = graph_loading.load(self._session, path)
            self.signatures = dict(meta_graph.signature_def)
            warmup.replay(self, path=path)
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
        return signatures.find(self.signatures, name)

    def call(self, signature_name: str = "", output_filter: Sequence[str] = ()) -> SignatureCall:
        """What computes some outputs of a signature; made once, and only these outputs are computed.

        Args:
            signature_name: "" is the default one.
            output_filter: aliases to compute; none: all.

        Raises:
            ServingError: no such signature or output.
        """
        signature = self.signature(signature_name)
        outputs = signatures.check_outputs(output_filter, signature=signature)
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
                batchable=signatures.is_batchable(signature, outputs=outputs),
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
        arrays = signatures.read_inputs(inputs, signature=call.signature)
        signatures.check_ranks(arrays, signature=call.signature)
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
        signatures.check_ranks(arrays, signature=call.signature)
        outputs = await self.scheduler.run(call, arrays, deadline=deadline)
        return dict(zip(call.outputs, outputs, strict=True))


class LoadError(Exception):
    """A version that cannot be served; the message is one line."""


def _session_config(
    threads: SessionThreads, *, batching: BatchingParameters | None
) -> config_pb2.ConfigProto:
    calls = batching.num_batch_threads if batching else default_num_batch_threads()
    intra_op = threads.intra_op or max(1, usable_processors() // calls)
    return config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op,
        inter_op_parallelism_threads=threads.inter_op or _IN_THE_CALLING_THREAD,
    )


def _one_line(error: BaseException) -> str:
    # A session wraps the error of an op in one whose first line is "Graph execution error:".
    while isinstance(error, tf.errors.OpError) and isinstance(error.__context__, tf.errors.OpError):
        error = error.__context__
    message = error.message if isinstance(error, (tf.errors.OpError, errors.ServingError)) else str(error)
    first = next((line.strip() for line in message.splitlines() if line.strip()), "") or type(error).__name__
    return (
        f"a file of variables is cut off: {first}" if isinstance(error, tf.errors.OutOfRangeError) else first
    )
