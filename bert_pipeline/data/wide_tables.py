"""Selects the columns to read from a table with far more columns than a task uses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from bert_pipeline.data import spans, table_files
from bert_pipeline.settings.config import LoadedTask
from bert_pipeline.settings.errors import UserError

# Up to this many unnamed columns are still read: they cost seconds, and may become slices. Statistics of 2,000 columns
# take over ten minutes, even for 150 rows.
MOST_UNNAMED = 100
# Number of columns in a message.
_NUM_LISTED = 3


@dataclasses.dataclass(frozen=True)
class Choice:
    """The columns to read from a span's tables."""

    columns: tuple[str, ...] = ()
    """Their names, sorted; empty for all."""

    left_out: tuple[str, ...] = ()
    """Skipped columns, in the order of the table."""

    note: str = ""
    """A sentence on skipped columns; empty if none."""


def choose(loaded: LoadedTask, *, span: int) -> Choice:
    """The columns named by the task or its curated schema, if the table has over MOST_UNNAMED others.

    Inspects the first file of each split. Without one, or if it is not a table, returns all columns: the reader
    reports the problem.

    Args:
        loaded: the task.
        span: number of the span; 0 if the data has no spans.
    """
    data = loaded.task.data
    if data.format == "tfrecord":
        return Choice()
    found: dict[str, None] = {}
    for pattern in data.files.values():
        paths = spans.files_of_span(loaded.data_dir, pattern, span=span)
        found.update(dict.fromkeys(_columns_of(paths[0]) if paths else ()))
    named = named_columns(loaded)
    left_out = tuple(name for name in found if name not in named)
    if len(left_out) <= MOST_UNNAMED:
        return Choice()
    listed = ", ".join(left_out[:_NUM_LISTED])
    note = (
        f"{len(left_out):,} of {len(found):,} columns are not read, for neither the task nor its schema names them "
        f"({listed}, ...); a column in evaluation.slices or in the schema is read"
    )
    return Choice(tuple(sorted(named & found.keys())), left_out, note)


def named_columns(loaded: LoadedTask) -> set[str]:
    """The columns that the task file or its curated schema names."""
    task = loaded.task
    in_slices = {column for name in task.evaluation.slices for column in name.split("+")}
    limits = dataclasses.asdict(task.validation).values()
    return {
        *task.data.text,
        task.data.label,
        *in_slices,
        *(column for limit in limits for column in limit),
        *_schema_columns(loaded.schema_path),
    }


def _schema_columns(path: Path) -> set[str]:
    try:
        schema = text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except (
        OSError,
        UnicodeDecodeError,
        text_format.ParseError,
    ):  # no schema yet, or its reader reports the problem
        return set()
    return {feature.name for feature in schema.feature}


def _columns_of(path: Path) -> list[str]:
    try:
        return table_files.header_of(path)
    except (OSError, UserError):
        return []
