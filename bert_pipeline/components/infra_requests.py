"""Builds requests for a candidate model, and checks its answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

# The signatures that clients and pipelines call (modules/bert_signatures.py writes them).
TEXT_SIGNATURE = "serving_default"
EXAMPLES_SIGNATURE = "serve_examples"

# Softmax in float32 adds up to 1 within 1e-6; bfloat16, whose eighth bit is 0.004, within this.
_SUM_TOLERANCE = 1e-2


class Refused(Exception):
    """The candidate must not be served; the message says why, in one sentence without a full stop."""


def check_signatures(meta_graph: meta_graph_pb2.MetaGraphDef, *, text_columns: Sequence[str]) -> None:
    """Checks that both signatures exist and take the task's inputs.

    Args:
        meta_graph: of the candidate.
        text_columns: names of the task's text columns.

    Raises:
        Refused: says what is missing.
    """
    expected = {TEXT_SIGNATURE: sorted(text_columns), EXAMPLES_SIGNATURE: ["examples"]}
    for name, inputs in expected.items():
        if name not in meta_graph.signature_def:
            raise Refused(
                f"the model has no signature {name}; it has {', '.join(sorted(meta_graph.signature_def))}"
            )
        found = sorted(meta_graph.signature_def[name].inputs)
        if found != inputs:
            raise Refused(
                f"{name} takes {', '.join(found) or 'nothing'}, and the task has {', '.join(inputs)}"
            )


def build_requests(
    records: Sequence[bytes], *, model_name: str, text_columns: Sequence[str], num_requests: int
) -> list[predict_pb2.PredictRequest]:
    """Builds requests of both signatures in turn; the first of each has all records, the others one.

    Args:
        records: serialized tf.Examples of raw features; at least one.
        model_name: name under which the candidate is served.
        text_columns: names of the task's text columns; a missing text is "".
        num_requests: at least 2.
    """
    requests = []
    for index in range(num_requests):
        batch = list(records) if index < 2 else [records[(index - 2) // 2 % len(records)]]
        columns = {"examples": batch} if index % 2 else _texts(batch, text_columns=text_columns)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model_name
        request.model_spec.signature_name = EXAMPLES_SIGNATURE if index % 2 else TEXT_SIGNATURE
        for name, values in columns.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype=tf.string, shape=[len(values)]))
        requests.append(request)
    return requests


def _texts(records: Sequence[bytes], *, text_columns: Sequence[str]) -> dict[str, list[bytes]]:
    examples = [tf.train.Example.FromString(record) for record in records]
    return {
        column: [next(iter(e.features.feature[column].bytes_list.value), b"") for e in examples]
        for column in text_columns
    }


def check_response(
    request: predict_pb2.PredictRequest, response: predict_pb2.PredictResponse, *, labels: Sequence[str]
) -> None:
    """Checks the form of one answer; its correctness is the Evaluator's task.

    Args:
        request: of `build_requests`.
        response: the answer to it.
        labels: the task's labels, in order.

    Raises:
        Refused: an output is missing, the probabilities are not a distribution over the labels, or the
            label is unknown.
    """
    signature = request.model_spec.signature_name
    for name in ("label", "labels", "probabilities"):
        if name not in response.outputs:
            raise Refused(
                f"{signature} answers without {name}; it gives {', '.join(sorted(response.outputs))}"
            )
    arrays = {name: tf.make_ndarray(response.outputs[name]) for name in ("label", "labels", "probabilities")}
    num_rows = tf.make_ndarray(next(iter(request.inputs.values()))).shape[0]
    _check_probabilities(arrays["probabilities"], shape=(num_rows, len(labels)), signature=signature)
    expected = [label.encode() for label in labels]
    if arrays["labels"].tolist() != [expected] * num_rows:
        raise Refused(
            f"{signature} answers labels other than the task's {', '.join(labels)}, or in another order"
        )
    for label in arrays["label"].ravel().tolist():
        if label not in expected:
            raise Refused(
                f"{signature} answered the label {label.decode(errors='replace')!r}, which the task does not have"
            )
    if arrays["label"].size != num_rows:
        raise Refused(f"{signature} answered {arrays['label'].size} labels to {num_rows} texts")


def _check_probabilities(values: np.ndarray, *, shape: tuple[int, int], signature: str) -> None:
    if values.shape != shape:
        raise Refused(
            f"{signature} answered probabilities of shape {list(values.shape)} where {list(shape)} is due"
        )
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        name = "NaN" if math.isnan(bad) else "infinite"
        raise Refused(f"{signature} answered probabilities that are {name}")
    sums = values.astype(np.float64).sum(axis=1)
    worst = sums[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > _SUM_TOLERANCE:
        raise Refused(f"{signature} answered probabilities that add up to {worst:.4g} and not to 1")
    if (values < 0).any():
        raise Refused(f"{signature} answered a negative probability, {values.min():.4g}")
