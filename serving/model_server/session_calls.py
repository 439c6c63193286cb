"""What a session gives to be called: made when it is needed, its errors in the server's own terms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from serving.model_server import errors


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
