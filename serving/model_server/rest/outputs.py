"""JSON of answers, as TF Serving writes it."""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, SupportsFloat

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)

from serving.model_server import errors
from serving.model_server.rest import text as json_text

_SHORT = ".6g"
# Up to here, one by one is quicker than what NumPy does for many.
_FEW = 64
# How near six digits must come to be tried, in units of the last place: half of one, and what the arithmetic in
# double may be off by, which is nothing beside a float32.
_NEAR = {np.float32: 0.51, np.float64: 8.0}


def write_floats(values: np.ndarray) -> list[str]:
    """Writes floats as JSON numbers.

    >>> write_floats(np.float32([0.2, 1 / 3, 3, np.nan]))
    ['0.2', '0.333333343', '3.0', 'NaN']

    Args:
        values: [n] of any float type.

    Returns:
        For each: %.6g if that reads back equal at the value's own width, else %.17g (float64) or %.9g, with .0
        where it would read as an integer; `NaN`, `Infinity`, `-Infinity`.
    """
    long = ".17g" if values.dtype == np.float64 else ".9g"
    with np.errstate(all="ignore"):  # NaN and infinities are as good as other values
        if values.size > _FEW:
            return _write_many(values, long=long)
        numbers = values.astype(np.float64).tolist()
        return [_write_one(number, kind=values.dtype.type, long=long) for number in numbers]


def _write_one(number: float, *, kind: Callable[[float], SupportsFloat], long: str) -> str:
    text = format(number, _SHORT)
    if float(kind(float(text))) != number:
        text = format(number, long)
    return _finished(text) if "." not in text else text


def _write_many(values: np.ndarray, *, long: str) -> list[str]:
    numbers = values.astype(np.float64)
    may_be_short = _may_be_short(values, numbers)
    plain = numbers.tolist()
    texts = [
        format(number, _SHORT if short else long)
        for short, number in zip(may_be_short.tolist(), plain, strict=True)
    ]
    tried = np.flatnonzero(may_be_short)
    read_back = np.array([float(texts[i]) for i in tried.tolist()]).astype(values.dtype)
    for i in tried[read_back != values[tried]].tolist():
        texts[i] = format(plain[i], long)
    for i in np.flatnonzero((numbers == np.trunc(numbers)) | ~np.isfinite(numbers)).tolist():
        texts[i] = _finished(texts[i])
    return texts


def _may_be_short(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Where six digits come near enough to be tried; true as well where this arithmetic cannot tell.

    Args:
        values: of any float type [n].
        numbers: the same as float64.

    Returns:
        bool [n].
    """
    if values.dtype.type not in _NEAR:
        return np.ones(values.size, dtype=bool)
    scale = 10.0 ** (5 - np.floor(np.log10(np.abs(numbers))))
    distance = np.abs(np.rint(numbers * scale) / scale - numbers)
    return ~(distance > np.spacing(np.abs(values)) * _NEAR[values.dtype.type])


def _finished(text: str) -> str:
    """A whole number with .0; the names of what is no number."""
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    if text in names:
        return names[text]
    return text if "." in text or "e" in text else text + ".0"


# protobuf 5 renamed the option.
_DEFAULTS = next(
    name
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in inspect.signature(json_format.MessageToDict).parameters
)


def write_status(response: get_model_status_pb2.GetModelStatusResponse) -> str:
    """The states of a model's versions."""
    return json.dumps({"model_version_status": [], **_as_dict(response)}, ensure_ascii=False)


def write_metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """The signatures of a version."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    document = {
        "model_spec": _as_dict(response.model_spec),
        "metadata": {"signature_def": _as_dict(signatures)},
    }
    return json.dumps(document, ensure_ascii=False)


def _as_dict(message: Any) -> dict[str, Any]:
    options = {"preserving_proto_field_name": True, _DEFAULTS: True}
    return dict(json_format.MessageToDict(message, **options))


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
    scores = iter(write_floats(np.array([entry.score for entry in classes], dtype=np.float32)))
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
    return f'{{"results": [{", ".join(write_floats(values))}]}}'


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
        return write_floats(flat)
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
