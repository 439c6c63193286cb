"""JSON of predict answers, as TF Serving writes it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.model_server import errors, json_numbers


def write_outputs(outputs: Mapping[str, np.ndarray], *, rows: bool) -> str:
    """Writes an answer: rows in, `predictions` out; columns in, `outputs` out.

    >>> write_outputs({"p": np.float32([[0.2, 0.8]])}, rows=True)
    '{"predictions": [[0.2, 0.8]]}'

    Args:
        outputs: array by alias; one alone loses its name.
        rows: whether the request was in row form.

    Raises:
        ServingError: INVALID_ARGUMENT; in row form, when the outputs do not share a batch size.
    """
    written = {alias: _Written(alias, array) for alias, array in sorted(outputs.items())}
    if not rows:
        columns = {alias: w.whole() for alias, w in written.items()}
        return f'{{"outputs": {_one_or_object(columns)}}}'
    batch_sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(batch_sizes) != 1 or None in batch_sizes:
        shapes = ", ".join(f"{alias} {_shape(array)}" for alias, array in sorted(outputs.items()))
        raise errors.invalid_argument(f"Tensors have inconsistent batch size; ask in column form: {shapes}")
    lists = [
        _one_or_object({alias: w.row(i) for alias, w in written.items()})
        for i in range(batch_sizes.pop() or 0)
    ]
    return f'{{"predictions": [{", ".join(lists)}]}}'


class _Written:
    """One output as JSON text, whole or by row."""

    def __init__(self, alias: str, array: np.ndarray) -> None:
        self._array = array
        self._as_bytes = alias.endswith("_bytes")

    def whole(self) -> str:
        return self._nested(self._array)

    def row(self, index: int) -> str:
        return self._nested(np.asarray(self._array[index], dtype=self._array.dtype))

    def _nested(self, array: np.ndarray) -> str:
        if array.ndim:
            return f"[{', '.join(self._nested(np.asarray(part, dtype=array.dtype)) for part in array)}]"
        return self._value(array[()])

    def _value(self, value: Any) -> str:
        if not isinstance(value, (bytes, str)):
            return json_numbers.write(value)
        raw = value if isinstance(value, bytes) else value.encode()
        if self._as_bytes:
            return f'{{"b64": "{base64.b64encode(raw).decode()}"}}'
        return json.dumps(raw.decode("utf-8", "replace"), ensure_ascii=False)


def _one_or_object(written: dict[str, str]) -> str:
    if len(written) == 1:
        return next(iter(written.values()))
    return "{" + ", ".join(f"{json.dumps(alias)}: {text}" for alias, text in written.items()) + "}"


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
