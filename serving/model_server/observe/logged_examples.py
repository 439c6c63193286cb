"""Request logs as tf.Examples, for StatisticsGen, drift checks and labelling.

    python -m serving.model_server.observe.logged_examples --out examples.tfrecord.gz LOG.tfrecord ...

A row of a Predict request becomes one tf.Example: its columns by name (texts, and numbers where a model takes any),
and beside them

    predicted_label     bytes, the answer's `label`, where the model gives one
    request_id          bytes; with several rows in a request, the one of the row, or ID/0, ID/1, ...
    model_version       int64
    timestamp_secs      int64, when it was answered
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message as protobuf_message
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server.api import ids_of_rows

_LABEL = "label"


def read_logs(path: str) -> Iterator[prediction_log_pb2.PredictionLog]:
    """The records of one file.

    Raises:
        ValueError: a record is cut or is not a PredictionLog; names the file and the record. Those before it came.
    """
    number = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(path):
            number += 1
            yield prediction_log_pb2.PredictionLog.FromString(record)
    except protobuf_message.DecodeError as error:
        raise ValueError(f"{path}: record {number} is not a PredictionLog: {error}") from error
    except tf.errors.DataLossError as error:
        raise ValueError(
            f"{path}: cut after record {number}; the server that writes it is still running?"
        ) from error
    except tf.errors.NotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error


def to_examples(log: prediction_log_pb2.PredictionLog) -> list[tf.train.Example]:
    """One tf.Example for each row of a Predict request; none for other requests.

    Args:
        log: whose inputs are [batch, ...]; one without rows is the column of a single row.
    """
    request, response = log.predict_log.request, log.predict_log.response
    columns = {alias: np.atleast_1d(tf.make_ndarray(tensor)) for alias, tensor in request.inputs.items()}
    num_rows = max(map(len, columns.values()), default=0)
    columns = {alias: values for alias, values in columns.items() if len(values) == num_rows}
    if _LABEL in response.outputs:
        labels = np.atleast_1d(tf.make_ndarray(response.outputs[_LABEL]))
        columns |= {"predicted_label": labels} if len(labels) == num_rows else {}
    metadata = log.log_metadata
    ids = ids_of_rows(metadata.request_origin, num_rows=num_rows)
    examples = []
    for row in range(num_rows):
        features = {alias: _feature(values[row]) for alias, values in columns.items()}
        features["request_id"] = _feature(ids[row].encode())
        features["model_version"] = _feature(metadata.model_spec.version.value)
        features["timestamp_secs"] = _feature(metadata.timestamp_secs)
        examples.append(tf.train.Example(features=tf.train.Features(feature=features)))
    return examples


def _feature(values: Any) -> tf.train.Feature:
    """A value or an array of them, flat."""
    # As objects: NumPy's own strings lose zero bytes at their end.
    flat = np.ravel(np.asarray(values, dtype=object if isinstance(values, bytes) else None))
    if flat.dtype.kind in "OS":
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=flat.tolist()))
    if flat.dtype.kind in "iub":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.astype(np.int64)))
    return tf.train.Feature(float_list=tf.train.FloatList(value=flat.astype(np.float32)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the examples of some logs; returns 0, or 1 where a log cannot be read."""
    parser = argparse.ArgumentParser(
        prog="serving.model_server.observe.logged_examples", description="Makes tf.Examples of request logs."
    )
    parser.add_argument("logs", nargs="+", help="files of the request log")
    parser.add_argument("--out", required=True, help="TFRecord to write, gzipped")
    flags = parser.parse_args(arguments)
    partial, count = flags.out + ".partial", 0
    try:
        with tf.io.TFRecordWriter(partial, "GZIP") as writer:
            for path in flags.logs:
                for log in read_logs(path):
                    for example in to_examples(log):
                        writer.write(example.SerializeToString())
                        count += 1
    except (ValueError, tf.errors.OpError) as error:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)
        print(error, file=sys.stderr)
        return 1
    os.replace(partial, flags.out)
    print(f"{count} examples in {flags.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
