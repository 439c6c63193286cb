"""The steps of a run, for an orchestrator that starts each in a process of its own; `run.py` calls them in one process.

`begin` resolves the parts of the graph, compiles it and writes it into the output folder. Then each component runs
(`run_component`), in any process with access to the folder and ML Metadata. `finish` reads the run from ML Metadata,
and writes its record, summary, report and notices.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.proto.orchestration import pipeline_pb2

from bert_pipeline.metadata import database, run_record
from bert_pipeline.metadata.run_history import NODE_TYPE, RUN_TYPE
from bert_pipeline.running import local_runner, notices, unchanged
from bert_pipeline.running.local_runner import NodeResult
from bert_pipeline.running.run import say
from bert_pipeline.settings import config, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.whole_file import whole, write_whole

if TYPE_CHECKING:  # not imported in a component's process: they import all of TFX
    from tfx.dsl.components.base.base_node import BaseNode
    from tfx.orchestration.pipeline import Pipeline

    from bert_pipeline.encoders.resolve import Encoder
    from bert_pipeline.report.after_run import Reports
    from bert_pipeline.running.summary import RunReport

# Failures of bulk inference and advice never block a push.
OPTIONAL = ("Coverage", "UnlabelledExampleGen", "ServingValidator", "BulkInferrer", "LabelledTable")

# Present depending on the data or the folder; an orchestrator's graph is written before that is known.
NOT_IN_EVERY_RUN = ("OlderSpans", "WarmStart")

# The model in service may have changed (another run, a user): the Pusher checks each time.
NEVER_CACHED = ("Pusher",)


@dataclasses.dataclass(frozen=True)
class Place:
    """The location of a task's runs and their records."""

    paths: RunPaths
    connection: metadata_store_pb2.ConnectionConfig
    store: MetadataStore

    @classmethod
    def of(cls, paths: RunPaths, *, metadata: str = "") -> Place:
        """Opens ML Metadata.

        Args:
            paths: of the task.
            metadata: as `--metadata`; empty for SQLite in the output folder.
        """
        connection = database.connection_config(metadata, sqlite_path=paths.metadata)
        return cls(paths, connection, database.open_store(connection, say=say))

    def reports(self, loaded: config.LoadedTask) -> Reports:
        """Writes the reports of the task's runs."""
        from bert_pipeline.report import after_run

        return after_run.Reports(self.store, self.paths, num_examples=loaded.task.report.examples, say=say)


@dataclasses.dataclass(frozen=True)
class Begun:
    """A started run."""

    run_id: str
    graph: pipeline_pb2.Pipeline


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a run beside its task."""

    encoder: Encoder
    server: str = "process"
    """The server of InfraValidator: `process` or `docker`."""

    run_id: str = ""
    """The orchestrator's run id; empty for the time."""


def begin(place: Place, loaded: config.LoadedTask, options: Options) -> Begun:
    """Repairs records of killed runs, reads older spans, records the run and compiles its graph.

    Args:
        place: of the task; the caller has its lock (`paths.exclusive`).
        loaded: the task.
        options: of the run.

    Raises:
        UserError: a problem that the user can fix stopped the run; it is recorded.
    """
    from bert_pipeline import pipeline
    from bert_pipeline.components import schema
    from bert_pipeline.data import spans, wide_tables
    from bert_pipeline.metadata import limits
    from bert_pipeline.running import older_spans, recovered, summary
    from bert_pipeline.serving_folder import unfinished

    encoder, paths, connection = options.encoder, place.paths, place.connection
    window = spans.resolve_window(loaded)
    limits.check(
        place.store,
        connection,
        task_name=paths.task_name,
        run_id=options.run_id,
        spans=(window.newest, *window.spans),
    )
    unsettled = unfinished.settle(place.store, paths)
    recovered.complete(place.store, paths, connection, say=say)
    if not loaded.schema_path.exists():
        infer_schema(place, loaded)
    columns = wide_tables.choose(loaded, span=window.newest)
    schema_pbtxt = schema.read_curated_schema(loaded.schema_path)
    known = run_record.facts(
        loaded, encoder_source=encoder.source, encoder_sha256=encoder.sha256, schema_pbtxt=schema_pbtxt
    )
    run_id = run_record.begin(place.store, known, run_id=options.run_id)
    with run_record.stops_recorded(place.store, run_id, on_stop=place.reports(loaded).tell):
        reader = older_spans.Reader(
            loaded, encoder, schema_pbtxt, paths, connection, functools.partial(run_graph, place), say
        )
        older = older_spans.read_older_spans(reader, window=window)
        parts = pipeline.Parts(
            loaded=loaded,
            encoder=encoder,
            paths=paths,
            schema_pbtxt=schema_pbtxt,
            span=older.parts,
            server=options.server,
        )
        graph = local_runner.compile_graph(
            _pipeline(place, pipeline.task_components(parts)), run_id=run_id, never_cached=NEVER_CACHED
        )
        notes = notes_of(*unsettled, *older.notes, columns.note, encoder=encoder)
        data = dataclasses.asdict(summary.DataReport.of(window, notes=notes))
        run_record.put(place.store, run_id, {run_record.DATA: json.dumps(data, ensure_ascii=False)})
    return Begun(run_id, graph)


def notes_of(*notes: str, encoder: Encoder) -> tuple[str, ...]:
    """Notes of the summary: the non-empty sentences, and the encoder's."""
    return (*filter(None, notes), *(f"encoder {encoder.source}: {note}" for note in encoder.notes))


def run_graph(place: Place, components: Sequence[BaseNode]) -> list[NodeResult]:
    """Runs components as a separate graph in the task's pipeline, so it shares the task's cache."""
    return runner().run(_pipeline(place, components))


def _pipeline(place: Place, components: Sequence[BaseNode]) -> Pipeline:
    return local_runner.pipeline_of(
        components, task_name=place.paths.task_name, paths=place.paths, connection=place.connection
    )


def runner() -> local_runner.LocalRunner:
    """Runs components in sequence, and prints a line for each."""

    def on_start(node_id: str) -> None:
        if sys.stdout.isatty():
            print(f"  {node_id} ...", end="\r", flush=True)

    def on_end(result: NodeResult) -> None:
        say(result.line)

    return local_runner.LocalRunner(
        on_start=on_start, on_end=on_end, optional=OPTIONAL, never_cached=NEVER_CACHED
    )


def infer_schema(place: Place, loaded: config.LoadedTask) -> None:
    """Infers a schema for a task without one, and writes it beside the task file."""
    from bert_pipeline import pipeline
    from bert_pipeline.components import schema
    from bert_pipeline.data import spans, wide_tables

    span = spans.resolve_window(loaded).newest
    if note := wide_tables.choose(loaded, span=span).note:
        say(f"note      {note}")
    run_graph(place, pipeline.schema_inference(loaded, span=span))
    newest = max((place.paths.pipeline_root / "SchemaGen" / "schema").iterdir(), key=lambda p: int(p.name))
    schema.write_curated_schema(
        str(newest), path=loaded.schema_path, data=loaded.task.data, task_name=loaded.task.name
    )
    say(f"the task had no schema; inferred one into {loaded.schema_path}: read it, edit it, commit it")


def finish(
    place: Place,
    loaded: config.LoadedTask,
    begun: Begun,
    results: Sequence[NodeResult],
    *,
    seconds: float,
    digest: Callable[[], str] = str,
) -> RunReport:
    """Writes the summary and the record of a run after its components, and sends notices.

    Args:
        place: of the task.
        loaded: the task with the run's settings.
        begun: the run.
        results: of its components.
        seconds: since the start of the run.
        digest: returns `unchanged.digest_of` after the run; if empty, the next run uses TFX's cache.
    """
    from bert_pipeline.running import summary

    run = place.store.get_context_by_type_and_name(RUN_TYPE, begun.run_id)
    data = json.loads(run.custom_properties[run_record.DATA].string_value)
    report = summary.collect(
        results,
        connection=place.connection,
        loaded=loaded,
        paths=place.paths,
        data=summary.DataReport(tuple(data["trained_on"]), data["evaluated_on"], tuple(data["notes"])),
        seconds=seconds,
    )
    text = summary.as_json(report)
    write_whole(place.paths.root / "summary.json", text)
    run_record.end(place.store, begun.run_id, text)
    lines = place.reports(loaded).lines(begun.run_id)
    print(summary.as_text(report, also=lines), flush=True)
    _remember(place, report, lines, digest=digest())
    notices.send(notices.of_run(report), config=loaded.task.notices, say=say)
    return report


def _remember(place: Place, report: RunReport, lines: Sequence[str], *, digest: str) -> None:
    """Stores what the next run prints if nothing changes, unless a component failed or was skipped."""
    from bert_pipeline.running import summary

    if not report.in_service or any(result.state in ("failed", "skipped") for result in report.results):
        return
    ids = [result.execution_id for result in report.results if result.execution_id]
    artifacts = [a.uri for i in ids for a in database.output_artifacts(place.store, i).values()]
    cached = tuple(NodeResult(result.node_id, "cached", 0.0) for result in report.results)
    again = dataclasses.replace(report, pushed=False, results=cached, wall_seconds=0.0)
    text = summary.as_text(again, also=lines, seconds=unchanged.SECONDS)
    unchanged.remember(
        place.paths,
        unchanged.Unchanged(
            digest=digest,
            artifacts=(*filter(None, artifacts), *(line.split(maxsplit=1)[1] for line in lines)),
            text="\n".join([*(result.line for result in cached), text]),
            summary=json.loads(summary.as_json(again)),
            version=report.version,
        ),
    )


def graph_file(paths: RunPaths, run_id: str) -> Path:
    """Path of a run's compiled graph, for the processes that run its components."""
    return paths.root / "runs" / quote(run_id, safe="") / "graph.binpb"


def save(place: Place, begun: Begun) -> None:
    """Saves a run for `load`."""
    file = graph_file(place.paths, begun.run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as partial:
        partial.write_bytes(begun.graph.SerializeToString(deterministic=True))


def load(place: Place, run_id: str) -> Begun:
    """Loads a run saved by `save`.

    Raises:
        UserError: no such run.
    """
    file = graph_file(place.paths, run_id)
    context = place.store.get_context_by_type_and_name(RUN_TYPE, run_id)
    if context is None or not file.is_file():
        raise UserError(
            f"run {run_id} of task {place.paths.task_name} has not begun in {place.paths.root}; "
            f"begin it: {typed.command('node', 'Begin', task=place.paths.task_name, run=run_id)}"
        )
    return Begun(run_id, pipeline_pb2.Pipeline.FromString(file.read_bytes()))


def run_component(place: Place, begun: Begun, node_id: str) -> NodeResult:
    """Runs one component of a run, in this process.

    Args:
        place: of the task.
        begun: the run.
        node_id: the component's id.

    Returns:
        The result; skipped if a component that it needs has not run.
    """
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in begun.graph.nodes}
    if node_id not in nodes:
        if node_id in (*OPTIONAL, *NOT_IN_EVERY_RUN):
            return NodeResult(node_id, "skipped", 0.0)
        raise UserError(
            f"no component is named {node_id}; run {begun.run_id} has Begin, {', '.join(nodes)}, Finish"
        )
    known = {result.node_id: result.state for result in results_of(place, begun)}
    missing = [each for each in nodes[node_id].upstream_nodes if known.get(each) not in ("ran", "cached")]
    if missing:
        return NodeResult(node_id, "skipped", 0.0, error=f"it needs {', '.join(missing)}, which has not run")
    result = local_runner.run_node(begun.graph, node_id)
    execution = _executions(place, begun).get(node_id)
    if result.state == "failed" and execution is not None:  # TFX does not record an executor's error
        execution.custom_properties[local_runner.ERROR].string_value = result.error
        place.store.put_executions([execution])
    return result


def check(results: Sequence[NodeResult]) -> None:
    """Raises on the first component that the push needs and that did not run.

    Raises:
        UserError: names it, with its error.
    """
    for result in results:
        if result.state in ("failed", "skipped") and result.node_id not in OPTIONAL:
            raise UserError(f"{result.node_id} stopped the run: {result.error or 'it did not run'}")


def began(place: Place, begun: Begun) -> float:
    """Time of a run's first record, in seconds since the epoch."""
    context = place.store.get_context_by_type_and_name(RUN_TYPE, begun.run_id)
    return float(context.create_time_since_epoch / 1000)


def results_of(place: Place, begun: Begun) -> list[NodeResult]:
    """Results of a run's components from ML Metadata, in graph order."""
    executions, results = _executions(place, begun), []
    for node in begun.graph.nodes:
        node_id = node.pipeline_node.node_info.id
        execution = executions.get(node_id)
        if execution is None:
            results.append(NodeResult(node_id, "skipped", 0.0))
            continue
        state, error = local_runner.state_of(execution)
        milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
        results.append(NodeResult(node_id, state, milliseconds / 1000, execution.id, error=error))
    return results


def _executions(place: Place, begun: Begun) -> dict[str, metadata_store_pb2.Execution]:
    """Component id to its newest execution in a run, for components that ran."""
    store = place.store
    run = store.get_context_by_type_and_name(RUN_TYPE, begun.run_id)
    of_run = {execution.id: execution for execution in store.get_executions_by_context(run.id)}
    found = {}
    for node in begun.graph.nodes:
        node_id = node.pipeline_node.node_info.id
        context = store.get_context_by_type_and_name(NODE_TYPE, f"{place.paths.task_name}.{node_id}")
        of_node = store.get_executions_by_context(context.id) if context else []
        newest = max((execution.id for execution in of_node if execution.id in of_run), default=0)
        if newest:
            found[node_id] = of_run[newest]
    return found
