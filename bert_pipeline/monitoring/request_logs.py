"""Request logs (TFRecords of PredictionLog, written by the model server) -> one row per text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import message as protobuf_message
from tensorflow_serving.apis import prediction_log_pb2

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

_WHOLE, _GROWING = ".tfrecord", ".partial"


@dataclasses.dataclass(frozen=True)
class LoggedText:
    """One requested text and its answer."""

    id: str
    """Id of the request, or of the row if the client named each row."""

    model: str
    version: int
    second: int
    """Unix time of the answer, by the server's clock."""

    columns: Mapping[str, bytes]
    """Text columns; for a request of tf.Examples, every feature with one value."""

    label: str
    probabilities: Mapping[str, float]
    """Probability by label; empty if the model returns none."""


@dataclasses.dataclass(frozen=True)
class RequestLogs:
    """Contents of a folder of logs."""

    texts: tuple[LoggedText, ...]
    damage: tuple[str, ...]
    """One sentence per truncated or damaged file: how much of it was read."""

    num_other: int
    """Number of skipped records of calls other than Predict."""


def read_folder(folder: Path) -> RequestLogs:
    """Reads every log of a folder, including files that are being written.

    Reads a truncated or damaged file up to that point; reports it unless a server is still writing the file.

    Raises:
        UserError: the folder does not exist, or has no log.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix == _WHOLE or p.name.endswith(_WHOLE + _GROWING))
    if not paths:
        raise UserError(
            f"there is no request log (*{_WHOLE}) in {folder}; "
            f"serve with `{typed.command('serve', log=None)}` (or logging_config in "
            f"models.config) and send requests, or give the folder with {typed.give('logs')}"
        )
    texts: list[LoggedText] = []
    damage: list[str] = []
    num_other = 0
    for path in paths:
        number = 0
        try:
            for log in _records(path):
                rows = list(_rows(log))
                texts += rows
                num_other += not rows
                number += 1
        except (tf.errors.DataLossError, protobuf_message.DecodeError):
            if not path.name.endswith(_GROWING):
                damage.append(
                    f"{path.name} is damaged after its first {number} records; the rest of it is not read"
                )
        except tf.errors.NotFoundError:  # completed and renamed since the listing
            texts += [row for log in _records(path.with_suffix("")) for row in _rows(log)]
    return RequestLogs(tuple(texts), tuple(damage), num_other)


def _records(path: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        yield prediction_log_pb2.PredictionLog.FromString(record)


def _rows(log: prediction_log_pb2.PredictionLog) -> Iterator[LoggedText]:
    """One row for each text of a Predict request that was answered with labels."""
    request, response = log.predict_log.request, log.predict_log.response
    outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
    if "label" not in outputs:
        return
    labels = outputs["label"].reshape([-1])
    columns = list(_columns(request.inputs))
    if len(columns) != len(labels):
        return
    ids = row_ids(log.log_metadata.request_origin, num_rows=len(labels))
    for i, label in enumerate(labels):
        yield LoggedText(
            id=ids[i],
            model=response.model_spec.name,
            version=response.model_spec.version.value,
            second=log.log_metadata.timestamp_secs,
            columns=columns[i],
            label=label.decode("utf-8", "replace"),
            probabilities=_probabilities(outputs, i),
        )


def _columns(inputs: Mapping[str, tf.core.framework.tensor_pb2.TensorProto]) -> Iterator[dict[str, bytes]]:
    arrays = {name: tf.make_ndarray(proto).reshape([-1]) for name, proto in inputs.items()}
    if set(arrays) == {"examples"}:
        for serialized in arrays["examples"]:
            features = tf.train.Example.FromString(serialized).features.feature
            yield {
                name: feature.bytes_list.value[0]
                for name, feature in features.items()
                if len(feature.bytes_list.value) == 1
            }
        return
    names = list(arrays)
    for values in zip(*arrays.values(), strict=False):
        yield dict(zip(names, map(_bytes, values), strict=True))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _probabilities(outputs: Mapping[str, np.ndarray], row: int) -> dict[str, float]:
    if "labels" not in outputs or "probabilities" not in outputs:
        return {}
    names, shares = outputs["labels"][row], outputs["probabilities"][row]
    return {name.decode(): float(share) for name, share in zip(names, shares, strict=True)}


def row_ids(request_id: str, *, num_rows: int) -> Sequence[str]:
    """The ids of a request's rows, by the server's rule (serving/model_server/api.py).

    >>> row_ids("a,b", num_rows=2), row_ids("a", num_rows=2)
    (['a', 'b'], ['a/0', 'a/1'])
    """
    if num_rows == 1:
        return [request_id]
    named = request_id.split(",")
    return named if len(named) == num_rows else [f"{request_id}/{row}" for row in range(num_rows)]
