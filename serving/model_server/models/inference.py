"""Classify, Regress and MultiInference: which signature, which outputs, and what becomes of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2

from serving.model_server import errors
from serving.model_server.models import tensors
from serving.model_server.models.tensors import CLASSIFY, DEFAULT_SIGNATURE, REGRESS

if TYPE_CHECKING:
    from serving.model_server.models.servable import Servable, SignatureCall


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


Outputs = Mapping[str, np.ndarray]
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"


def classify_call(servable: Servable, signature_name: str) -> SignatureCall:
    """What computes the classes and scores of a signature.

    Raises:
        ServingError: INVALID_ARGUMENT, there is no such signature, or it is not one of Classify and method names
            are checked; FAILED_PRECONDITION, it has other inputs or outputs than such a signature needs.
    """
    signature = _signature(servable, signature_name, wanted="classification", method=CLASSIFY)
    if len(signature.outputs) not in (1, 2):
        raise errors.invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    _need_input(signature, kind="classification")
    outputs = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not outputs:
        raise errors.failed_precondition(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or '
            f'"{_SCORES}". Signature was: {signature}'
        )
    return servable.call(signature_name, outputs)


def regress_call(servable: Servable, signature_name: str) -> SignatureCall:
    """What computes the values of a signature.

    Raises:
        ServingError: as `classify_call`.
    """
    signature = _signature(servable, signature_name, wanted="regression", method=REGRESS)
    if len(signature.outputs) != 1:
        raise errors.invalid_argument("Expected one output Tensor.")
    _need_input(signature, kind="regression")
    if _OUTPUTS not in signature.outputs:
        raise errors.failed_precondition(f"No regression outputs found in SignatureDef: {signature}")
    return servable.call(signature_name, [_OUTPUTS])


def multi_calls(servable: Servable, request: inference_pb2.MultiInferenceRequest) -> list[SignatureCall]:
    """What computes each task of a request.

    Raises:
        ServingError: a task is of another model, asks a signature again or for something unknown.
    """
    seen: set[str] = set()
    model_name = request.tasks[0].model_spec.name if request.tasks else ""
    for task in request.tasks:
        if not task.model_spec.name:
            raise errors.invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != model_name:
            raise errors.invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise errors.invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in servable.signatures:
            raise errors.invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise errors.unimplemented(f"Unsupported signature method_name: {task.method_name}")
    return [
        (classify_call if task.method_name == CLASSIFY else regress_call)(
            servable, task.model_spec.signature_name
        )
        for task in request.tasks
    ]


def multi_result(
    task: inference_pb2.InferenceTask, *, spec: model_pb2.ModelSpec, outputs: Outputs, num_examples: int
) -> inference_pb2.InferenceResult:
    """The answer to one task."""
    result = inference_pb2.InferenceResult(model_spec=spec)
    if task.method_name == CLASSIFY:
        result.classification_result.CopyFrom(classification_result(outputs, num_examples=num_examples))
    else:
        result.regression_result.CopyFrom(regression_result(outputs, num_examples=num_examples))
    return result


def classification_result(outputs: Outputs, *, num_examples: int) -> classification_pb2.ClassificationResult:
    """Labels, scores or both for each example.

    Args:
        outputs: `classes` string [batch, classes], `scores` float32 [batch, classes], or one of them.
        num_examples: the batch that was asked for.

    Raises:
        ServingError: INVALID_ARGUMENT; the model's outputs have other shapes or types.
    """
    for alias, dtype in ((_CLASSES, tf.string), (_SCORES, tf.float32)):
        if alias in outputs:
            _check_output(outputs[alias], alias=alias, dtype=dtype, num_examples=num_examples)
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise errors.invalid_argument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(num_examples):
        added = result.classifications.add().classes
        labels = [] if classes is None else classes[row].tolist()
        values = [] if scores is None else scores[row].tolist()
        for label, score in itertools.zip_longest(labels, values):
            added.add(label=label, score=score)
    return result


def regression_result(outputs: Outputs, *, num_examples: int) -> regression_pb2.RegressionResult:
    """A value for each example.

    Args:
        outputs: `outputs` float32 [batch] or [batch, 1].
        num_examples: the batch that was asked for.

    Raises:
        ServingError: INVALID_ARGUMENT; the model's output has another shape or type.
    """
    values = outputs[_OUTPUTS]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise errors.invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {_shape(values)}"
        )
    if len(values) != num_examples:
        raise errors.invalid_argument(
            f"Input batch size did not match output batch size: {num_examples} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise errors.invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}")
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _signature(servable: Servable, name: str, *, wanted: str, method: str) -> meta_graph_pb2.SignatureDef:
    key = name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise errors.invalid_argument(f"No signature was found with the name: {key}")
    signature = servable.signatures[key]
    if servable.check_method_names and signature.method_name != method:
        raise errors.invalid_argument(
            f"Expected {wanted} signature method_name to be {method}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise errors.invalid_argument("Expected one input Tensor.")
    return signature


def _need_input(signature: meta_graph_pb2.SignatureDef, *, kind: str) -> None:
    if _INPUTS not in signature.inputs:
        raise errors.failed_precondition(f"No {kind} inputs found in SignatureDef: {signature}")


def _check_output(array: np.ndarray, *, alias: str, dtype: tf.DType, num_examples: int) -> None:
    if array.ndim != 2:
        raise errors.invalid_argument(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
        )
    if tf.dtypes.as_dtype(array.dtype) != dtype:
        expected = "DT_STRING" if dtype == tf.string else "DT_FLOAT"
        raise errors.invalid_argument(f"Expected {alias} Tensor of {expected}. Got: {_dtype(array)}")
    if len(array) != num_examples:
        raise errors.invalid_argument(
            f"Expected {alias} output batch size of {num_examples}. Got: {len(array)}"
        )


def _dtype(array: np.ndarray) -> str:
    return "DT_" + tensors.dtype_name(tf.dtypes.as_dtype(array.dtype).as_datatype_enum).upper()


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
