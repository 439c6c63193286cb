"""Which columns of a table are read where it has far more of them than a task uses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from bert_pipeline.data import spans, table_files
from bert_pipeline.settings.config import LoadedTask
from bert_pipeline.settings.errors import UserError

# So many columns that nothing names are read and described all the same: they cost seconds, and may become slices.
# Statistics of 2,000 columns take over ten minutes, of 150 rows as of many.
MOST_UNNAMED = 100
# Columns that a sentence lists.
_NUM_LISTED = 3


@dataclasses.dataclass(frozen=True)
class Choice:
    """The columns of a span's tables that are read."""

    columns: tuple[str, ...] = ()
    """Their names, sorted; empty: all."""

    left_out: tuple[str, ...] = ()
    """In the order of the table."""

    note: str = ""
    """A sentence on what is left out; empty: nothing is."""


def choose(loaded: LoadedTask, *, span: int) -> Choice:
    """The columns that the task or its curated schema names, where the table has over MOST_UNNAMED others.

    Looks at the first file of each split. Where there is none, or none that is a table, all are read: who reads says
    what is wrong.

    Args:
        loaded: the task.
        span: number of the span; 0: the data does not come in spans.
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
    ):  # there is none yet, or its reader says what is wrong
        return set()
    return {feature.name for feature in schema.feature}


def _columns_of(path: Path) -> list[str]:
    try:
        return table_files.header_of(path)
    except (OSError, UserError):
        return []
