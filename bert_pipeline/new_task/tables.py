"""Reads a table as people have it: CSV of any delimiter and encoding, Parquet, JSON lines."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import charset_normalizer
import pyarrow.parquet as pq

from bert_pipeline.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".ndjson", ".json")
_DELIMITERS = ",\t;|"
_DELIMITER_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
# Records from which the delimiter is told.
_NUM_LOOKED_AT = 200
# A cell of a header is a name, not a text. Characters.
_LONGEST_NAME = 60

csv.field_size_limit(1 << 28)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table in memory."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells in the order of `columns`; empty where there is none."""

    told: str
    """What the file is: `UTF-8, comma, with a header`."""

    readable: bool
    """Whether the pipeline reads the file as it is."""


def read_table(path: Path) -> Table:
    """Reads one file, by its suffix and by what stands in it.

    Raises:
        UserError: it cannot be read as a table; says why and where.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"DATA: {path} is none of {', '.join(SUFFIXES)}; give one of these, or a folder of them"
        )
    if suffix == ".parquet":
        return of_records(pq.read_table(path).to_pylist(), told="Parquet", readable=True)
    text, encoding = _decode(path)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return of_records(_json_lines(text, path=path), told=f"JSON lines, {encoding}", readable=False)
    return _of_csv(text, encoding=encoding, path=path)


def of_records(records: Iterable[Mapping[str, Any]], *, told: str, readable: bool) -> Table:
    """A table of dicts: columns in the order in which they first appear, values as strings."""
    records = list(records)
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    rows = tuple(tuple(_text(record.get(name)) for name in columns) for record in records)
    return Table(columns, rows, told, readable)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


def _decode(path: Path) -> tuple[str, str]:
    """The text of a file, and the name of its encoding."""
    raw = path.read_bytes()
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, "replace"), "UTF-8" if encoding == "utf-8-sig" else "UTF-16"
    try:
        return raw.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        encoding = _legacy_encoding(raw[: 1 << 20])
        return raw.decode(encoding, "replace"), encoding


def _legacy_encoding(raw: bytes) -> str:
    """The likeliest encoding of bytes that are no Unicode; of equally likely ones Western Europe's, cp1252."""
    guesses = charset_normalizer.from_bytes(raw)
    best = guesses.best()
    western = next((guess for guess in guesses if guess.encoding == "cp1252"), None)
    if best is None or (western is not None and western.chaos <= best.chaos):
        return "cp1252"
    return str(best.encoding)


def _json_lines(text: str, *, path: Path) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    else:
        records = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    records.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise UserError(f"{path}:{number}: not JSON: {error.msg}; one object a line") from error
    if not all(isinstance(record, dict) for record in records):
        raise UserError(f'{path}: its records must be JSON objects such as {{"text": ..., "label": ...}}')
    return list(records)


def _of_csv(text: str, *, encoding: str, path: Path) -> Table:
    delimiter = _delimiter(text, path=path)
    try:
        records = [
            r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if r
        ]
    except csv.Error as error:
        raise UserError(
            f"{path}: not CSV: {error}; write quotes inside a quoted cell twice (RFC 4180)"
        ) from error
    width = len(records[0])
    for number, record in enumerate(records, start=1):
        if len(record) != width:
            raise UserError(
                f"{path}: record {number} has {len(record)} cells, and the first one {width}; "
                f"quote cells that hold a {_DELIMITER_NAMES[delimiter]} or a line break"
            )
    has_header = _is_header(records)
    columns = records[0] if has_header else [f"column_{i}" for i in range(1, width + 1)]
    rows = tuple(tuple(record) for record in records[has_header:])
    told = f"{encoding}, {_DELIMITER_NAMES[delimiter]}, {'with' if has_header else 'without'} a header"
    readable = encoding == "UTF-8" and delimiter == "," and has_header and path.suffix == ".csv"
    return Table(tuple(columns), rows, told, readable)


def _delimiter(text: str, *, path: Path) -> str:
    """The delimiter under which most of the first records have the same number of cells, more than one."""
    best: tuple[float, int, str] = (0.0, 1, "")
    for delimiter in _DELIMITERS:
        lines = csv.reader(io.StringIO(text[: 1 << 22], newline=""), delimiter=delimiter)
        counts = collections.Counter(len(r) for r in itertools.islice(lines, _NUM_LOOKED_AT) if r)
        if not counts:
            raise UserError(f"{path} is empty")
        width, agreeing = counts.most_common(1)[0]
        if width > 1:
            best = max(best, (agreeing / counts.total(), width, delimiter))
    if not best[2]:
        raise UserError(
            f"{path} has one column only (no comma, tab, semicolon or bar); a task needs text and label"
        )
    return best[2]


def _is_header(records: list[list[str]]) -> bool:
    """Whether the first record names columns: short names, each once, none of them a value further down."""
    first, rest = records[0], records[1:]
    if len(set(first)) != len(first) or any(not cell.strip() or len(cell) > _LONGEST_NAME for cell in first):
        return False
    if any(re.fullmatch(r"[-+]?[\d.,]+", cell) for cell in first):
        return False
    return not any(cell in {record[i] for record in rest} for i, cell in enumerate(first))
