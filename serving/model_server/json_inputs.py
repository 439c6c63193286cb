"""JSON of predict requests, as TF Serving reads it: rows (`instances`) or columns (`inputs`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import errors, json_arrays, json_text

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request names; "" where it names none.

    Raises:
        ServingError: INVALID_ARGUMENT; it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise errors.invalid_argument(
            f"JSON Value: {json_text.shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    if not json_text.is_utf8(name):  # which no proto can hold
        raise errors.invalid_argument(f'Serving signature name: "{name}" not found in signature def')
    return name


def read_inputs(document: dict[str, Any], *, inputs: Inputs) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the tensors of a predict request.

    Args:
        document: the request; `{"instances": [1.0, 2.0]}` (rows) or `{"inputs": {"x": [1.0, 2.0]}}` (columns).
        inputs: of the signature, by alias.

    Returns:
        Array by alias, and whether the request was in row form.

    Raises:
        ServingError: INVALID_ARGUMENT; says which value does not fit and why.
    """
    if not inputs:
        name = signature_name(document) or "DEFAULT"
        raise errors.invalid_argument(f"Failed to get input map for signature: {name}")
    if "instances" in document:
        return _read_rows(_checked_rows(document), inputs=inputs), True
    if "inputs" in document:
        return _read_columns(document["inputs"], inputs=inputs), False
    raise errors.invalid_argument("Missing 'inputs' or 'instances' key")


def _checked_rows(document: dict[str, Any]) -> list[Any]:
    rows = document["instances"]
    problem = ""
    if "inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(rows, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not rows:
        problem = "No values in 'instances' array"
    if problem:
        raise errors.invalid_argument(f"JSON Value: {json_text.shown(document)} {problem}")
    return list(rows)


def _read_columns(value: Any, *, inputs: Inputs) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or json_arrays.is_base64(value):
        if len(inputs) > 1:
            raise errors.invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        (alias,) = inputs
        return {alias: json_arrays.read(value, dtype=inputs[alias].dtype)}
    for alias in sorted(inputs):
        if alias not in value:
            raise errors.invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: json_arrays.read(value[alias], dtype=info.dtype) for alias, info in inputs.items()}


def _read_rows(rows: list[Any], *, inputs: Inputs) -> dict[str, np.ndarray]:
    """All rows at once where that goes, else one after the other, which finds the row to blame."""
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise errors.invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    arrays = {}
    for alias, info in inputs.items():
        column = _column(rows, alias=alias, inputs=inputs)
        array = None if column is None else json_arrays.read_plain(column, dtype=info.dtype)
        if array is None:
            return _read_each_row(rows, inputs=inputs)
        arrays[alias] = array
    return arrays


def _column(rows: list[Any], *, alias: str, inputs: Inputs) -> list[Any] | None:
    """The values of one input; None where the rows are not alike."""
    if not isinstance(rows[0], dict):
        return rows
    aliases = inputs.keys()
    if not all(isinstance(row, dict) and row.keys() == aliases for row in rows):
        return None
    return [row[alias] for row in rows]


def _read_each_row(rows: list[Any], *, inputs: Inputs) -> dict[str, np.ndarray]:
    named = _is_named(rows[0])
    columns: dict[str, list[np.ndarray]] = {alias: [] for alias in inputs}
    for item, row in enumerate(rows):
        if named != _is_named(row):
            words = ("Expecting object but got list", "Expecting value/list but got object")
            raise errors.invalid_argument(f"{words[0] if named else words[1]} at item {item} of input list")
        if named:
            _add_named(row, item=item, inputs=inputs, columns=columns)
        else:
            alias = next(iter(inputs))
            _add(row, alias=alias, where=f"element: {item}", dtype=inputs[alias].dtype, columns=columns)
    return {alias: np.stack(arrays) for alias, arrays in columns.items()}


def _add_named(row: Any, *, item: int, inputs: Inputs, columns: dict[str, list[np.ndarray]]) -> None:
    for alias, value in row.items():
        where = f"element: {item} key: {alias}"
        if alias not in inputs:
            message = f"JSON object: does not have named input: {alias}"
            raise _bad_element(where, errors.invalid_argument(message))
        _add(value, alias=alias, where=where, dtype=inputs[alias].dtype, columns=columns)
    if set(row) != set(inputs):
        raise errors.invalid_argument(
            f"Failed to process element: {item} of 'instances' list. JSON object: {json_text.shown(row)} "
            f"keys must be equal to: {','.join(sorted(inputs))}"
        )


def _add(value: Any, *, alias: str, where: str, dtype: int, columns: dict[str, list[np.ndarray]]) -> None:
    try:
        array = json_arrays.read(value, dtype=dtype)
    except errors.ServingError as error:
        raise _bad_element(where, error) from error
    first = columns[alias][0] if columns[alias] else array
    problem = ""
    if first.size != array.size:
        problem = f"Expecting tensor size: {first.size} but got: {array.size}"
    elif first.shape != array.shape:
        problem = f"Expecting shape {json_text.shape(first.shape)} but got: {json_text.shape(array.shape)}"
    if problem:
        raise _bad_element(where, errors.invalid_argument(problem))
    columns[alias].append(array)


def _bad_element(where: str, error: errors.ServingError) -> errors.ServingError:
    return errors.invalid_argument(
        f"Failed to process {where} of 'instances' list. Error: {error.code.name}: {error.whole_message}"
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not json_arrays.is_base64(value)
