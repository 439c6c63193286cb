"""Texts, and the requests that carry them: one text a request, as a service gets them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

csv.field_size_limit(1 << 28)


def read_texts(paths: Sequence[Path], *, column: str) -> list[str]:
    """The texts of CSV files, all in one random but fixed order, so that lengths are mixed.

    Raises:
        SystemExit: a file lacks the column.
    """
    texts = []
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or column not in rows[0]:
            raise SystemExit(
                f"{path} has no column {column!r}; give --column, one of {list(rows[0] if rows else [])}"
            )
        texts += [row[column] for row in rows]
    random.Random(0).shuffle(texts)
    return texts


def describe(texts: Sequence[str]) -> str:
    """How many texts there are, and of what length."""
    lengths = sorted(len(text.split()) for text in texts)
    p50, p90 = lengths[len(lengths) // 2], lengths[len(lengths) * 9 // 10]
    return f"{len(texts)} texts of {lengths[0]} to {lengths[-1]} words (p50 {p50}, p90 {p90})"


def json_bodies(texts: Sequence[str]) -> list[bytes]:
    """One request a text in row form, which the peers take as well."""
    return [json.dumps({"instances": [text]}).encode() for text in texts]


def proto_bodies(texts: Sequence[str], *, model: str, alias: str, version: int | None = None) -> list[bytes]:
    """One serialized PredictRequest a text, for the input `alias` of the default signature."""
    bodies = []
    for text in texts:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        request.inputs[alias].CopyFrom(tf.make_tensor_proto([text]))
        bodies.append(request.SerializeToString())
    return bodies
