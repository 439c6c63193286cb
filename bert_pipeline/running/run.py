"""One run of a task on this machine: resolves the parts, runs the graph, prints the summary."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bert_pipeline.data import spans
from bert_pipeline.running import notices
from bert_pipeline.settings import config
from bert_pipeline.settings.errors import UserError, sentence_of
from bert_pipeline.settings.paths import RunPaths, exclusive, run_paths
from bert_pipeline.settings.run_log import quiet_library_loggers, run_log
from bert_pipeline.settings.whole_file import write_whole

if TYPE_CHECKING:
    from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig
    from tfx.dsl.components.base.base_node import BaseNode

    from bert_pipeline.encoders.resolve import Encoder
    from bert_pipeline.running.local_runner import NodeResult

# Bulk inference and advice that fail never hold back a push.
_OPTIONAL = ("Coverage", "UnlabelledExampleGen", "ServingValidator", "BulkInferrer", "LabelledTable")

# What is in service may have changed since (another run, a person): the Pusher looks each time.
_NEVER_CACHED = ("Pusher",)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    task: str
    data: str
    span: int | None
    window: int | None
    overrides: tuple[str, ...]
    out: Path
    metadata: str
    server: str
    verbose: bool


def run(request: Request) -> int:
    """Runs a task's pipeline.

    Returns:
        0 when the model was pushed or is in service already, 1 when it was refused.

    Raises:
        UserError: anything that stopped the run and that a user can mend.
    """
    started = time.monotonic()
    loaded = config.load_task(
        request.task, data=request.data, span=request.span, window=request.window, overrides=request.overrides
    )
    paths = run_paths(loaded.task.name, out=request.out)
    paths.root.mkdir(parents=True, exist_ok=True)
    log = paths.logs / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    with exclusive(paths), notices.on_failure(loaded.task), run_log(log, verbose=request.verbose):
        try:
            return _run(request, loaded, paths, started=started)
        except UserError:
            raise
        except Exception as error:
            if request.verbose:
                raise
            said = sentence_of(error) or f"{type(error).__name__}: {error}"
            raise UserError(f"{said}\nthe whole log is in {log}") from error


def _run(request: Request, loaded: config.LoadedTask, paths: RunPaths, *, started: float) -> int:
    _say(f"task {loaded.task.name}: {loaded.task.description}")
    encoder = _resolve_encoder(loaded)  # before the libraries: a cache that cannot be written is said at once
    with _timed("loading TensorFlow and TFX"):
        from bert_pipeline import pipeline
        from bert_pipeline.components import schema
        from bert_pipeline.data import wide_tables
        from bert_pipeline.metadata import database, run_record
        from bert_pipeline.report import after_run
        from bert_pipeline.running import older_spans, recovered, summary
        from bert_pipeline.serving_folder import unfinished

        quiet_library_loggers()
    connection = database.connection_config(request.metadata, sqlite_path=paths.metadata)
    store = database.open_store(connection, say=_say)
    unsettled = unfinished.settle(store, paths)
    recovered.complete(store, paths, connection, say=_say)
    window = spans.resolve_window(loaded)
    if not loaded.schema_path.exists():
        infer_schema(loaded, paths, connection)
    columns = wide_tables.choose(loaded, span=window.newest)
    schema_pbtxt = schema.read_curated_schema(loaded.schema_path)
    in_task = functools.partial(run_graph, loaded=loaded, paths=paths, connection=connection)
    reader = older_spans.Reader(loaded, encoder, schema_pbtxt, paths, connection, run_graph=in_task, say=_say)
    known = run_record.facts(
        loaded, encoder_source=encoder.source, encoder_sha256=encoder.sha256, schema_pbtxt=schema_pbtxt
    )
    reports = after_run.Reports(store, paths, num_examples=loaded.task.report.examples, say=_say)
    with run_record.recorded(store, known, on_stop=reports.tell) as record:
        older = older_spans.read_older_spans(reader, window=window)
        parts = pipeline.Parts(
            loaded=loaded,
            encoder=encoder,
            paths=paths,
            schema_pbtxt=schema_pbtxt,
            span=older.parts,
            server=request.server,
        )
        report = summary.collect(
            in_task(pipeline.task_components(parts), run_id=record.run_id),
            connection=connection,
            loaded=loaded,
            paths=paths,
            data=summary.DataReport.of(
                window, notes=_notes(*unsettled, *older.notes, columns.note, encoder=encoder)
            ),
            seconds=time.monotonic() - started,
        )
        record.summary = summary.as_json(report)
        write_whole(paths.root / "summary.json", record.summary)
    print(summary.as_text(report, also=reports.lines(record.run_id)), file=sys.stdout, flush=True)
    notices.send(notices.of_run(report), config=loaded.task.notices, say=_say)
    return 0 if report.in_service else 1


def _notes(*notes: str, encoder: Encoder) -> tuple[str, ...]:
    """What the summary notes: the sentences that are not empty, and the encoder's."""
    return (*filter(None, notes), *(f"encoder {encoder.source}: {note}" for note in encoder.notes))


def run_graph(
    components: Sequence[BaseNode],
    *,
    loaded: config.LoadedTask,
    paths: RunPaths,
    connection: ConnectionConfig,
    run_id: str = "",
) -> list[NodeResult]:
    """Runs some components as a graph of their own, in the task's pipeline and so with its cache."""
    from bert_pipeline.running.local_runner import run_components

    return run_components(
        components,
        task_name=loaded.task.name,
        paths=paths,
        connection=connection,
        on_start=_on_start,
        on_end=lambda result: _say(result.line),
        optional=_OPTIONAL,
        never_cached=_NEVER_CACHED,
        run_id=run_id,
    )


def _resolve_encoder(loaded: config.LoadedTask) -> Encoder:
    from bert_pipeline.encoders.resolve import check_max_seq_length, default_cache_dir, resolve_encoder

    encoder = resolve_encoder(
        loaded.task.encoder, cache_dir=default_cache_dir(), base_dir=config.PROJECT_ROOT, progress=_say
    )
    check_max_seq_length(loaded.task.text.max_seq_length, encoder=encoder)
    return encoder


def infer_schema(loaded: config.LoadedTask, paths: RunPaths, connection: ConnectionConfig) -> None:
    """The first pass over a task without a schema: infers one and keeps it beside the task file."""
    from bert_pipeline import pipeline
    from bert_pipeline.components import schema
    from bert_pipeline.data import wide_tables

    span = spans.resolve_window(loaded).newest
    if note := wide_tables.choose(loaded, span=span).note:
        _say(f"note      {note}")
    components = pipeline.schema_inference(loaded, span=span)
    run_graph(components, loaded=loaded, paths=paths, connection=connection)
    newest = max((paths.pipeline_root / "SchemaGen" / "schema").iterdir(), key=lambda p: int(p.name))
    schema.write_curated_schema(
        str(newest), path=loaded.schema_path, data=loaded.task.data, task_name=loaded.task.name
    )
    _say(f"the task had no schema; inferred one into {loaded.schema_path}: read it, edit it, commit it")


def _on_start(node_id: str) -> None:
    if sys.stdout.isatty():
        print(f"  {node_id} ...", end="\r", flush=True)


def _say(line: str) -> None:
    clear = "\033[K" if sys.stdout.isatty() else ""
    print(f"{line}{clear}", flush=True)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    _say(f"  {what:<24}{time.monotonic() - started:>7.1f} s")
