"""The input of Classify and Regress: tf.Examples, as a tensor of serialized ones."""

from __future__ import annotations

import numpy as np
from tensorflow_serving.apis import input_pb2

from serving.model_server import errors


def serialized(request_input: input_pb2.Input) -> np.ndarray:
    """The examples of a request; each with the features of the context where there is one.

    Args:
        request_input: a list of examples, with or without a context.

    Returns:
        Serialized tf.Examples: bytes (as objects) [number of examples].

    Raises:
        ServingError: INVALID_ARGUMENT; there is none.
    """
    context = b""
    examples = request_input.example_list.examples
    if request_input.WhichOneof("kind") == "example_list_with_context":
        with_context = request_input.example_list_with_context
        # Serialized messages one after the other read as merged: an example's own feature wins.
        context, examples = with_context.context.SerializeToString(), with_context.examples
    if not examples:
        raise errors.invalid_argument("Input is empty.")
    array = np.empty([len(examples)], dtype=object)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array
