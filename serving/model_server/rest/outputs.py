"""JSON of answers: TF Serving's form; numbers as short as their own width allows."""

from __future__ import annotations

import base64
import inspect
import math
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import orjson
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)

from serving.model_server import errors
from serving.model_server.rest import parse

# Between blocks other threads get their turn.
_BLOCK_VALUES = 2**16
_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
# protobuf 5 renamed the option.
_DEFAULTS = next(
    name
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in inspect.signature(json_format.MessageToDict).parameters
)


def write_status(response: get_model_status_pb2.GetModelStatusResponse) -> bytes:
    """The states of a model's versions."""
    return _dumps({"model_version_status": [], **_as_dict(response)})


def write_metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> bytes:
    """The signatures of a version."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    metadata = {"signature_def": _as_dict(signatures)}
    return _dumps({"model_spec": _as_dict(response.model_spec), "metadata": metadata})


def write_outputs(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """Writes the answer to Predict: rows in, `predictions` out; columns in, `outputs` out.

    >>> write_outputs({"p": np.float32([[0.2, 1 / 3, np.nan]])}, rows=True)
    b'{"predictions":[[0.2,0.33333334,NaN]]}'

    Args:
        outputs: array by alias; one alone loses its name.
        rows: whether the request was in row form.

    Raises:
        ServingError: INVALID_ARGUMENT; in row form, when the outputs do not share a batch size. An output has a
            type that JSON cannot hold.
    """
    ordered = dict(sorted(outputs.items()))
    if rows:
        _check_batch_size(ordered)
    values = {alias: _values(array, as_bytes=alias.endswith("_bytes")) for alias, array in ordered.items()}
    if rows:
        row_values = sum(math.prod(array.shape[1:]) for array in ordered.values())
        return b'{"predictions":' + _write_rows(values, row_values=row_values) + b"}"
    texts = {
        alias: _write_rows({alias: values[alias]}, row_values=math.prod(array.shape[1:]))
        if array.ndim
        else _dumps(values[alias])
        for alias, array in ordered.items()
    }
    fragments = {alias: orjson.Fragment(text) for alias, text in texts.items()}
    return _dumps({"outputs": fragments if len(fragments) > 1 else next(iter(fragments.values()))})


def write_classifications(result: classification_pb2.ClassificationResult) -> bytes:
    """Writes the answer to Classify: for each example a list of [label, score].

    Raises:
        ServingError: INVALID_ARGUMENT; there is nothing to write.
    """
    if not result.classifications:
        raise errors.invalid_argument("Cannot convert empty ClassificationResults to JSON")
    classes = [entry for example in result.classifications for entry in example.classes]
    scores = iter(_values(np.array([entry.score for entry in classes], dtype=np.float32)))
    examples = [[[e.label, next(scores)] for e in example.classes] for example in result.classifications]
    return _dumps({"results": examples})


def write_regressions(result: regression_pb2.RegressionResult) -> bytes:
    """Writes the answer to Regress: a value for each example.

    Raises:
        ServingError: INVALID_ARGUMENT; there is nothing to write.
    """
    if not result.regressions:
        raise errors.invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = np.array([entry.value for entry in result.regressions], dtype=np.float32)
    return _dumps({"results": _values(values)})


def write_error(message: str) -> bytes:
    """The body of an error."""
    return _dumps({"error": _string(message)})


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _as_dict(message: Any) -> dict[str, Any]:
    options = {"preserving_proto_field_name": True, _DEFAULTS: True}
    return dict(json_format.MessageToDict(message, **options))


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


def _write_rows(columns: Mapping[str, Sequence[Any]], *, row_values: int) -> bytes:
    """A list of objects, or of the bare values of the only column; as many rows at a time as are a moment's work."""
    num_rows = len(next(iter(columns.values())))
    step = max(1, _BLOCK_VALUES // max(row_values, 1))
    blocks = []
    for start in range(0, num_rows, step):
        parts = {alias: column[start : start + step] for alias, column in columns.items()}
        rows: Any = next(iter(parts.values()))
        if len(parts) > 1:
            rows = [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
        blocks.append(_dumps(rows)[1:-1])
    return b"[" + b",".join(blocks) + b"]"


def _values(array: np.ndarray, *, as_bytes: bool = False) -> Any:
    """An output as `orjson` writes it: an array of numbers, or lists.

    Raises:
        ServingError: INVALID_ARGUMENT; it has a type that JSON cannot hold.
    """
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    kind = array.dtype.kind
    if kind in "OSU":
        return _nested(array.tolist(), _base64 if as_bytes else _string)
    if kind not in "biuf":
        raise errors.invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    if kind == "f" and not np.isfinite(array).all():  # which orjson writes as null
        return _nested(array.astype(str).tolist(), _float)
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _nested(values: Any, function: Any) -> Any:
    """Applies a function to the values of lists in lists."""
    return [_nested(value, function) for value in values] if isinstance(values, list) else function(values)


def _float(number: str) -> orjson.Fragment:
    return orjson.Fragment(_NON_FINITE.get(number, number))


def _string(value: bytes | str) -> str | orjson.Fragment:
    """Text; bytes that are not UTF-8, or the text of `parse.from_bytes` that stands for them, go out as they are."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value.encode(), "utf-8")
    except UnicodeError:
        text = parse.from_bytes(value) if isinstance(value, bytes) else value
        return orjson.Fragment(parse.to_bytes(encode_basestring(text)))


def _base64(value: bytes | str) -> dict[str, str]:
    raw = value if isinstance(value, bytes) else value.encode()
    return {"b64": base64.b64encode(raw).decode()}
