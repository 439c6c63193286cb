"""JSON of answers, as TF Serving writes it."""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.model_server import errors, json_floats, json_text

# Between blocks other threads get their turn, and only one block's values lie about as texts of their own.
_BLOCK_VALUES = 2**16


def write_outputs(outputs: Mapping[str, np.ndarray], *, rows: bool) -> str:
    """Writes the answer to Predict: rows in, `predictions` out; columns in, `outputs` out.

    Strings that are not UTF-8 are those of `json_text.from_bytes`.

    >>> write_outputs({"p": np.float32([[0.2, 0.8]])}, rows=True)
    '{"predictions": [[0.2, 0.8]]}'

    Args:
        outputs: array by alias; one alone loses its name.
        rows: whether the request was in row form.

    Raises:
        ServingError: INVALID_ARGUMENT; in row form, when the outputs do not share a batch size. An output has a
            type that JSON cannot hold.
    """
    ordered = dict(sorted(outputs.items()))
    if not rows:
        columns = [[_whole(alias, array)] for alias, array in ordered.items()]
        return f'{{"outputs": {_objects(list(ordered), columns)[0]}}}'
    _check_batch_size(ordered)
    columns = [list(itertools.chain(*_blocks(alias, array))) for alias, array in ordered.items()]
    return f'{{"predictions": [{", ".join(_objects(list(ordered), columns))}]}}'


def write_classifications(result: classification_pb2.ClassificationResult) -> str:
    """Writes the answer to Classify: for each example a list of [label, score].

    Raises:
        ServingError: INVALID_ARGUMENT; there is nothing to write.
    """
    if not result.classifications:
        raise errors.invalid_argument("Cannot convert empty ClassificationResults to JSON")
    classes = [entry for example in result.classifications for entry in example.classes]
    scores = iter(json_floats.write_floats(np.array([entry.score for entry in classes], dtype=np.float32)))
    examples = [
        ", ".join(f"[{encode_basestring(entry.label)}, {next(scores)}]" for entry in example.classes)
        for example in result.classifications
    ]
    return f'{{"results": [{", ".join(f"[{text}]" for text in examples)}]}}'


def write_regressions(result: regression_pb2.RegressionResult) -> str:
    """Writes the answer to Regress: a value for each example.

    Raises:
        ServingError: INVALID_ARGUMENT; there is nothing to write.
    """
    if not result.regressions:
        raise errors.invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = np.array([entry.value for entry in result.regressions], dtype=np.float32)
    return f'{{"results": [{", ".join(json_floats.write_floats(values))}]}}'


def write_error(message: str) -> bytes:
    """The body of an error."""
    return json_text.to_bytes(json.dumps({"error": message}, ensure_ascii=False))


def _check_batch_size(outputs: Mapping[str, np.ndarray]) -> None:
    expected = None
    for alias, array in outputs.items():
        if not array.ndim:
            raise errors.invalid_argument(f"Tensor name: {alias} has no shape information ")
        if expected is not None and len(array) != expected:
            raise errors.invalid_argument(
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {expected}"
            )
        expected = len(array)


def _objects(aliases: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    """Texts by output and row to texts by row: an object each, or the bare value of the only output."""
    if len(aliases) == 1:
        return list(columns[0])
    keys = [encode_basestring(alias) for alias in aliases]
    return [
        "{" + ", ".join([f"{key}: {text}" for key, text in zip(keys, row, strict=True)]) + "}"
        for row in zip(*columns, strict=True)
    ]


def _whole(alias: str, array: np.ndarray) -> str:
    if not array.ndim:
        return _scalars(alias, array)[0]
    return f"[{', '.join([', '.join(block) for block in _blocks(alias, array)])}]"


def _blocks(alias: str, array: np.ndarray) -> Iterator[list[str]]:
    """Texts of an output's rows, block by block: as many at a time as C code writes in a moment."""
    step = max(1, _BLOCK_VALUES // max(math.prod(array.shape[1:]), 1))
    for start in range(0, len(array), step):
        block = array[start : start + step]
        yield _nest(_scalars(alias, block), block.shape)


def _nest(texts: list[str], shape: Sequence[int]) -> list[str]:
    """Texts of scalars to texts of rows.

    >>> _nest(["1", "2", "3", "4"], (2, 2))
    ['[1, 2]', '[3, 4]']
    """
    for depth in range(len(shape) - 1, 0, -1):
        size = shape[depth]
        if size == 0:
            texts = ["[]"] * math.prod(shape[:depth])
        else:
            texts = [f"[{', '.join(texts[i : i + size])}]" for i in range(0, len(texts), size)]
    return texts


def _scalars(alias: str, array: np.ndarray) -> list[str]:
    """Each value of an output as JSON, in row-major order."""
    flat = array.ravel()
    if array.dtype == object or array.dtype.kind in "SU":
        return _strings(flat.tolist(), as_bytes=alias.endswith("_bytes"))
    if array.dtype == np.bool_:
        return ["true" if value else "false" for value in flat.tolist()]
    if array.dtype.kind in "iu":
        return list(map(str, flat.tolist()))
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return json_floats.write_floats(flat)
    raise errors.invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype.name}")


def _strings(values: list[Any], *, as_bytes: bool) -> list[str]:
    """Names of classes come again in each row, so each text is written once."""
    texts = {value: _string(value, as_bytes=as_bytes) for value in set(values)}
    return [texts[value] for value in values]


def _string(value: bytes | str, *, as_bytes: bool) -> str:
    raw = value if isinstance(value, bytes) else value.encode()
    if as_bytes:
        return f'{{"b64": "{base64.b64encode(raw).decode()}"}}'
    return encode_basestring(json_text.from_bytes(raw))
