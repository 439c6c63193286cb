"""Checks the limits of MySQL, MariaDB and PostgreSQL as ML Metadata's store before anything is written.

Measured with ML Metadata 1.16 on MariaDB 10.11 and PostgreSQL 15. (Long strings have no limit: `postgres.py` splits
them. Doubles have six decimals in every store, sqlite included; this project stores numbers as JSON.)
"""

from __future__ import annotations

from collections.abc import Iterable

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from bert_pipeline.metadata.run_history import PIPELINE_TYPE
from bert_pipeline.settings.errors import UserError

MAX_NAME = 255
"""Maximum characters in the name of a context: a task, a run, or a task's component."""

MAX_INT = 2**31 - 1
"""Maximum of an integer property, such as the span of Examples."""

_LONGEST_COMPONENT = "UnlabelledExampleGen"


def check(
    store: MetadataStore,
    connection: metadata_store_pb2.ConnectionConfig,
    *,
    task_name: str,
    run_id: str = "",
    spans: Iterable[int] = (),
) -> None:
    """Raises on names and spans that the store would refuse in the middle of a run or confuse with others.

    Args:
        store: ML Metadata.
        connection: of the same store; no limits apply to sqlite.
        task_name: name of the pipeline.
        run_id: name of the run; empty: a timestamp, which fits.
        spans: numbers of the spans.

    Raises:
        UserError: names the value that does not fit, and the fix.
    """
    if connection.HasField("sqlite"):
        return
    server = "PostgreSQL" if connection.HasField("postgresql") else "MySQL or MariaDB"
    name = f"{task_name}.{_LONGEST_COMPONENT}"
    if len(name) > MAX_NAME:
        most = MAX_NAME - len(_LONGEST_COMPONENT) - 1
        raise UserError(
            f"the task's name {task_name!r} has {len(task_name)} characters; with {server} as metadata store it may "
            f"have {most}: give the task file a shorter name"
        )
    if len(run_id) > MAX_NAME:
        raise UserError(
            f"the run's name {run_id!r} has {len(run_id)} characters; {server} as metadata store takes {MAX_NAME}"
        )
    if too_large := [span for span in spans if span > MAX_INT]:
        raise UserError(
            f"span {too_large[0]} is above {MAX_INT}, the largest integer that {server} as metadata store holds: "
            "number the spans 1, 2, ... or write dates as {YYYY}-{MM}-{DD}"
        )
    if connection.HasField("mysql"):
        _check_case(store, task_name)


def _check_case(store: MetadataStore, task_name: str) -> None:
    """Raises on a task name that differs from a recorded one only in case or trailing blanks, as MySQL ignores both."""
    known = [context.name for context in store.get_contexts_by_type(PIPELINE_TYPE)]
    alike = [name for name in known if name.rstrip().casefold() == task_name.rstrip().casefold()]
    if alike and task_name not in alike:
        raise UserError(
            f"the metadata store has runs of task {alike[0]!r}, and MySQL and MariaDB take {task_name!r} for the same "
            "name: rename the task, or give it its own database"
        )
