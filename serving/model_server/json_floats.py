"""Floats as TF Serving writes them: the shortest text that reads back equal, out of three."""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsFloat

import numpy as np

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
