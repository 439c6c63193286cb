"""Reads tables: CSV of any delimiter and encoding, with or without a header, Parquet, JSON lines."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import itertools
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import charset_normalizer

from bert_pipeline.data import table_files
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".ndjson", ".json")
_DELIMITERS = ",\t;|"
_DELIMITER_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
# Number of records for detecting the delimiter.
_NUM_LOOKED_AT = 200
# A first line that Excel interprets and hides: `sep=;`.
_SEP_LINE = re.compile(r"\ufeff?\"?sep=([,\t;|])\"?\r?\n", re.IGNORECASE)

LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "intent",
    "topic",
    "y",
    "gold",
    "answer",
)
TEXT_NAMES = (
    "text", "sentence", "review", "comment", "message", "body", "content", "tweet", "question", "utterance",
    "document", "description", "title", "headline", "premise", "query", "abstract", "sms",
)  # fmt: skip
# Other common header names.
_OTHER_NAMES = (
    "id", "uid", "index", "stars", "rating", "score", "polarity", "emotion", "tag", "tags", "date", "day", "time",
    "timestamp", "created", "user", "author", "name", "url", "lang", "language", "source", "channel", "split",
)  # fmt: skip
# Score for a header, summed over the columns: a header from _SURE on, no header from -_SURE down.
_SURE = 2.0
_NUMBER = re.compile(r"[-+]?(\d[\d.,]*|\.\d+)(e[-+]?\d+)?%?", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*")
# Number of records to inspect.
_MAX_RECORDS = 5000
# Minimum share of cells of a type for the column's type.
_NEARLY_ALL = 0.95


@dataclasses.dataclass(frozen=True)
class Reading:
    """The user's options for reading a table."""

    header: bool | None = None
    """Whether the first record is a header; None to detect."""

    encoding: str = ""
    """A Python codec; empty to detect."""


AS_FOUND = Reading()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table in memory."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells in the order of `columns`; empty if missing."""

    told: str
    """Description of the file: `UTF-8, comma, with a header`."""

    readable: bool
    """Whether the pipeline can read the file as it is."""

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def counts(self, name: str) -> collections.Counter[str]:
        """Counts of the values in a column, without empty cells."""
        return collections.Counter(filter(None, self.column(name)))

    def with_rows(self, rows: Iterable[tuple[str, ...]]) -> Table:
        """Returns the table with other rows; if they differ, the pipeline can no longer read the original file."""
        rows = tuple(rows)
        return dataclasses.replace(self, rows=rows, readable=self.readable and rows == self.rows)


def read_table(path: Path, *, reading: Reading = AS_FOUND) -> Table:
    """Reads one file by its suffix and content.

    Raises:
        UserError: not a table; names the reason and the position.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{typed.data()}: {path} is none of {', '.join(SUFFIXES)}; give one of these, or a folder of them"
        )
    raw = path.read_bytes()
    table_files.check_beginning(path, raw[:64])
    # TFX finds files by pattern.
    plain_name = not table_files.is_pattern(path)
    if table_files.is_parquet(path):
        rows = list(table_files.rows_of_parquet(str(path), path=path))
        return _of_cells(rows, told="Parquet", readable=plain_name)
    text, encoding = decode(raw, path=path, encoding=reading.encoding)
    if suffix in (".jsonl", ".ndjson", ".json"):
        records = table_files.json_records(text, path=path)
        return of_records(records, told=f"JSON lines, {encoding}", readable=False)
    table = _of_csv(text, encoding=encoding, path=path, header=reading.header)
    return dataclasses.replace(table, readable=table.readable and plain_name)


def of_records(records: Iterable[Mapping[str, Any]], *, told: str, readable: bool) -> Table:
    """A table from dicts: columns in order of first appearance, values as in `table_files.cell`."""
    rows = [{name: table_files.cell(value) for name, value in record.items()} for record in records]
    return _of_cells(rows, told=told, readable=readable)


def _of_cells(rows: Sequence[Mapping[str, bytes]], *, told: str, readable: bool) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    cells = tuple(tuple(row.get(name, b"").decode("utf-8", "replace") for name in columns) for row in rows)
    return Table(columns, cells, told, readable)


def decode(raw: bytes, *, path: Path, encoding: str = "") -> tuple[str, str]:
    """The text of a file and the name of its encoding, which is detected from the whole file if not given.

    Raises:
        UserError: an unknown or wrong encoding, or NUL bytes outside UTF-16.
    """
    if encoding:
        try:
            return raw.decode(encoding).removeprefix("\ufeff"), encoding
        except LookupError as error:
            raise UserError(
                f"{typed.give('encoding', encoding)}: no such encoding; for example utf-8, cp1252"
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: byte {error.start} is not {encoding}: {error.reason}; leave out {typed.give('encoding')} to "
                "have it found"
            ) from error
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(name, "replace"), "UTF-8" if name == "utf-8-sig" else "UTF-16"
    if b"\0" in raw:
        return _without_mark(raw, path=path), "UTF-16 without a byte-order mark"
    try:
        return raw.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        legacy = _legacy_encoding(raw)
        return raw.decode(legacy, "replace"), f"{legacy} (guessed; {typed.give('encoding')} says another)"


def _without_mark(raw: bytes, *, path: Path) -> str:
    """Detects UTF-16 by NUL in every other byte of Latin letters."""
    for name, half in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[::2])):
        if len(raw) % 2 == 0 and half.count(0) > 0.3 * len(half):
            try:
                return raw.decode(name)
            except UnicodeDecodeError:
                continue
    table_files.check_nul(path, raw)
    raise AssertionError("there is a NUL byte")


def _legacy_encoding(raw: bytes) -> str:
    """The most likely legacy encoding; cp1252 (Western Europe) in a tie."""
    guesses = charset_normalizer.from_bytes(raw)
    best = guesses.best()
    western = next((guess for guess in guesses if guess.encoding == "cp1252"), None)
    if best is None or (western is not None and western.chaos <= best.chaos):
        return "cp1252"
    return str(best.encoding)


def _of_csv(text: str, *, encoding: str, path: Path, header: bool | None) -> Table:
    sep_line = _SEP_LINE.match(text)
    text = text[sep_line.end() :] if sep_line else text
    delimiter = sep_line[1] if sep_line else _delimiter(text, path=path)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        records = [record for record in rows if record]
    except csv.Error as error:
        raise UserError(
            f"{path}:{rows.line_num}: not CSV: {error}; write quotes inside a quoted cell twice (RFC 4180)"
        ) from error
    if not records:
        raise UserError(f"{path} is empty")
    width = len(records[0])
    for number, record in enumerate(records, start=1):
        if len(record) != width:
            raise UserError(
                f"{path}: record {number} has {len(record)} cells, and the first one {width}; "
                f"quote cells that hold a {_DELIMITER_NAMES[delimiter]} or a line break"
            )
    has_header = _has_header(records, path=path) if header is None else header
    columns = records[0] if has_header else [f"column_{i}" for i in range(1, width + 1)]
    rest = records[has_header:]
    kept, told = _named_columns(columns, rest)
    columns = [columns[i] for i in kept]
    table_files.check_header(columns, path=path)
    words = [encoding, _DELIMITER_NAMES[delimiter], f"{'with' if has_header else 'without'} a header", *told]
    readable = encoding == "UTF-8" and delimiter == "," and has_header and not told and not sep_line
    return Table(
        tuple(columns),
        tuple(tuple(record[i] for i in kept) for record in rest),
        ", ".join(words),
        readable and path.suffix == ".csv",
    )


def _delimiter(text: str, *, path: Path) -> str:
    """The delimiter that gives most of the first records the same number of cells, more than one."""
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


def _has_header(records: Sequence[Sequence[str]], *, path: Path) -> bool:
    """Whether the first record is a header.

    Raises:
        UserError: it is ambiguous; shows both readings and the option that decides.
    """
    first, rest = records[0], records[1 : _MAX_RECORDS + 1]
    if not rest:
        return True
    points = sum(_points(cell, [record[i] for record in rest], place=i) for i, cell in enumerate(first))
    if abs(points) >= _SURE:
        return points > 0
    shown = ", ".join(repr(cell if len(cell) <= 40 else cell[:37] + "...") for cell in first)
    raise UserError(
        f"{typed.data()}: {path}: the first record ({shown}) may name the columns or be a row of them; say which: "
        f"{typed.give('header', 'yes')} (columns of these names) or {typed.give('header', 'no')} (a row; the "
        "columns are then column_1, column_2, ...)"
    )


def _points(cell: str, column: Sequence[str], *, place: int) -> float:
    """Score of one column: positive for a header, negative for a row."""
    cell, filled = cell.strip(), [value.strip() for value in column if value.strip()]
    if not cell:
        # The name that DataFrame.to_csv() writes for its index, or an empty column.
        return 3.0 if place == 0 and _counts_up(filled) else 0.0
    named = 3.0 * is_named(cell, (*LABEL_NAMES, *TEXT_NAMES, *_OTHER_NAMES))
    if not filled:
        return named
    kind, rest_kind = _kind(cell), _kind_of_all(filled)
    if rest_kind:
        return named + (-3.0 if kind == rest_kind else 2.0)
    return named + (1.5 if kind else _text_points(cell, filled))


def _text_points(cell: str, filled: Sequence[str]) -> float:
    counts = collections.Counter(filled)
    if cell in counts:
        return -2.5
    words = statistics.mean(len(value.split()) for value in filled)
    if len(counts) > 0.5 * len(filled) and words >= 3:  # texts, mostly different
        if len(cell.split()) >= 0.5 * words:
            return -2.0
        return 1.5 if len(cell.split()) <= 2 else 0.0
    # Values that repeat, while this one never does.
    return 2.0 if len(filled) >= 20 and min(counts.values()) >= 2 else 1.0


def _kind(cell: str) -> str:
    return "number" if _NUMBER.fullmatch(cell) else "date" if _DATE.fullmatch(cell) else ""


def _kind_of_all(filled: Sequence[str]) -> str:
    kind, count = collections.Counter(map(_kind, filled)).most_common(1)[0]
    return kind if count >= _NEARLY_ALL * len(filled) else ""


def _counts_up(filled: Sequence[str]) -> bool:
    """Whether the values count 0, 1, 2, ... or 1, 2, ... like an index; rows may be missing."""
    numbers = [int(value) for value in filled if value.isdecimal()]
    return len(numbers) == len(filled) > 0 and all(a < b for a, b in itertools.pairwise(numbers))


def _named_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[int], list[str]]:
    """Positions of the columns to keep, and a note on each column dropped for lack of a name.

    Drops a column without a name if it is an index or empty; otherwise keeps it without a name.
    """
    kept, told = [], []
    for i, name in enumerate(columns):
        filled = [row[i] for row in rows if row[i].strip()]
        if name.strip():
            kept.append(i)
        elif not filled:
            told.append(f"column {i + 1}, empty and without a name, left out")
        else:
            what = "an index" if _counts_up(filled) else f"such as {filled[0][:20]!r}"
            told.append(f"column {i + 1}, without a name ({what}), left out")
    return kept, told


def is_named(name: str, names: Sequence[str]) -> float:
    """1 for a matching name, 0.5 if only one of its parts matches: `review_text`."""
    name = name.strip().lower()
    parts = re.split(r"[^a-z]+", name)
    return 1.0 if name in names else 0.5 if set(parts) & set(names) else 0.0
