"""Reads rows from table files: the only reader of CSV, Parquet and JSON lines, and the definition of a cell.

`new-task` and the pipeline both use these functions, so a value has the same text everywhere.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bert_pipeline.settings.errors import UserError

# Longest cell accepted, in characters; csv's own default of 131,072 is below long documents.
csv.field_size_limit(1 << 28)

# First bytes of files that are not tables.
_MAGIC = (
    (b"PK\x03\x04", "a zip archive (an Excel workbook?)", "export the sheet as CSV UTF-8, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old form", "export the sheet as CSV UTF-8"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it with gunzip"),
    (b"BZh", "compressed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it with unzstd"),
    (b"%PDF", "a PDF", "export the table as CSV UTF-8"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV UTF-8"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
)
_LFS_POINTER = b"version https://git-lfs"
# Key in a Parquet file's schema under which Hugging Face's `datasets` stores the names of class labels.
_HUGGINGFACE = b"huggingface"
# Unicode's categories of control and format characters.
_INVISIBLE = ("Cc", "Cf")
# Special characters of file patterns: TFX finds every file by a pattern.
_PATTERN = re.compile(r"[*?\[\]\\]")


def is_parquet(path: str | Path) -> bool:
    """Whether a file name is Parquet, ignoring case: `.parquet`, `.PARQUET`."""
    return str(path).lower().endswith(".parquet")


def check_beginning(path: str | Path, head: bytes) -> None:
    """Raises if the first bytes show that a file is not a table.

    Args:
        path: for the message.
        head: the first 64 bytes or more.

    Raises:
        UserError: it is an archive, a workbook, a Git LFS pointer, ...; or Parquet under another name, or the other
            way round.
    """
    if head.startswith(_LFS_POINTER):
        raise UserError(
            f"{path} is a Git LFS pointer, not the file itself; fetch it with git lfs pull, or download it again"
        )
    for magic, what, cure in _MAGIC:
        if head.startswith(magic):
            raise UserError(f"{path} is {what}, not a table; {cure}")
    if head.startswith(b"PAR1") != is_parquet(path):
        if is_parquet(path):
            raise UserError(
                f"{path} is no Parquet file: it does not begin with PAR1; copy or download it again"
            )
        raise UserError(f"{path} is a Parquet file; rename it to {Path(path).stem}.parquet")


def is_pattern(path: str | Path) -> bool:
    """Whether a name has a special character of file patterns."""
    return bool(_PATTERN.search(str(path)))


def check_name(path: str | Path, *, key: str) -> None:
    """Raises on a name with special characters of file patterns: brackets, *, ? and backslashes.

    Raises:
        UserError: names the path and the character.
    """
    found = _PATTERN.search(str(path))
    if found:
        raise UserError(
            f"{key}: {path} has a {found[0]} in its name, which a pattern of files gives a meaning; rename it"
        )


def header_of(path: Path) -> list[str]:
    """The names of a table's columns, without reading its rows.

    Raises:
        OSError: the file cannot be read.
        UserError: not a table.
    """
    if is_parquet(path):
        try:
            return list(pq.read_schema(path).names)
        except pa.ArrowException as error:
            raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from error
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        try:
            header = next(csv.reader(file, strict=True), [])
        except csv.Error as error:
            raise UserError(f"{path}:1: {error}") from error
    return [name.removeprefix("\ufeff") if i == 0 else name for i, name in enumerate(header)]


def rows_of_csv(raw: bytes, *, path: str | Path, columns: Collection[str] = ()) -> Iterator[dict[str, bytes]]:
    """Rows of an RFC 4180 file with a header; cells are the bytes of the file.

    Args:
        raw: the file; UTF-8 with or without a byte-order mark. Bytes that are not UTF-8 are kept.
        path: for messages.
        columns: to return; empty for all.

    Raises:
        UserError: no table, no header, two columns of one name, a row with another number of cells, an unclosed
            quote, a NUL byte; with its line.
    """
    check_beginning(path, raw[:64])
    check_nul(path, raw)
    text = io.StringIO(raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff"), newline="")
    rows = csv.reader(text, strict=True)
    try:
        header = next(rows, None)
        check_header(header or [], path=path)
        assert header
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{path}:{rows.line_num}: {len(cells)} cells, but the header names {len(header)} columns "
                    f"({', '.join(header)}); quote cells that hold a comma or a line break"
                )
            yield {
                name: cell.encode("utf-8", "surrogateescape")
                for name, cell in zip(header, cells, strict=True)
                if not columns or name in columns
            }
    except csv.Error as error:
        raise UserError(
            f"{path}:{rows.line_num}: {error}; write quotes inside a quoted cell twice (RFC 4180)"
        ) from error


def check_header(header: list[str], *, path: str | Path) -> None:
    """Raises unless the header names every column exactly once.

    Raises:
        UserError: names the column.
    """
    if not header:
        raise UserError(f"{path}:1: there is no header; it must name every column, each once")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path}:1: two columns are called {twice[0]!r}; rename one, or leave it out")


def check_nul(path: str | Path, raw: bytes) -> None:
    """Raises on NUL bytes, which occur in UTF-16 but not in text.

    Raises:
        UserError: with the line of the first one.
    """
    place = raw.find(b"\0")
    if place >= 0:
        line = raw.count(b"\n", 0, place) + 1
        raise UserError(
            f"{path}:{line}: a NUL byte; save the file as UTF-8, without it (is it UTF-16, or binary?)"
        )


def rows_of_parquet(
    source: str | Any, *, path: str | Path, columns: Collection[str] = ()
) -> Iterator[dict[str, bytes]]:
    """Rows of a Parquet file, each value as `cell` writes it, class labels by their names.

    Args:
        source: a path, or a file opened for reading bytes.
        path: for messages.
        columns: to read; empty for all.

    Raises:
        UserError: it cannot be read as Parquet, or has two columns of one name.
    """
    try:
        file = pq.ParquetFile(source)
        check_header(list(file.schema_arrow.names), path=path)
        names = class_label_names(file.schema_arrow)
        wanted = [name for name in file.schema_arrow.names if name in columns] if columns else None
        for batch in file.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                yield {name: cell(_named(value, names.get(name))) for name, value in row.items()}
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} cannot be read as Parquet: {first_line(error)}; write or download it again"
        ) from error


def class_label_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Column to names of class labels, stored by Hugging Face's `datasets` beside their numbers."""
    try:
        features = json.loads((schema.metadata or {}).get(_HUGGINGFACE, b"{}"))["info"]["features"]
        return {
            name: list(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, ValueError):  # missing, or in another form
        return {}


def _named(value: Any, names: list[str] | None) -> Any:
    """A class label's name; None for a hidden one (-1)."""
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def cell(value: Any) -> bytes:
    """A value of Parquet or JSON as the bytes of a cell, UTF-8; a missing one is empty.

    A list of one element is that element (as sets of labels are often stored); other lists and structs are JSON.

    >>> [cell(value) for value in (None, "a", 7, True, ["a"], ["a", "b"], {"x": 1})]
    [b'', b'a', b'7', b'True', b'a', b'["a", "b"]', b'{"x": 1}']
    """
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], (list, dict)):
        return cell(value[0])
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    return str(value).encode("utf-8", "replace")


def json_records(text: str, *, path: str | Path) -> list[dict[str, Any]]:
    """The objects of JSON lines, or of one JSON list; numbers stay as they are written.

    A line ends at a line feed: U+2028 and U+0085 may stand inside a string.

    Raises:
        UserError: with the line that is not a JSON object.
    """
    as_written: dict[str, Any] = {
        "parse_int": str,
        "parse_float": str,
        "parse_constant": str,
    }
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text, **as_written)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    else:
        records = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    records.append(json.loads(line, **as_written))
                except json.JSONDecodeError as error:
                    raise UserError(f"{path}:{number}: not JSON: {error.msg}; one object a line") from error
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise UserError(
                f'{path}: record {number} is no JSON object such as {{"text": ..., "label": ...}}'
            )
    return list(records)


def is_blank(text: str) -> bool:
    """Whether a text is empty: only blanks, line ends, control and format characters (a zero-width space).

    Such a text has no token. This defines "missing" and "empty" for texts everywhere.
    """
    return all(c.isspace() or unicodedata.category(c) in _INVISIBLE for c in text)


def first_line(error: BaseException) -> str:
    """The first non-blank line of an error's message, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
