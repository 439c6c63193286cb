"""The history of a task in ML Metadata: artifacts, executions, runs, and their lineage.

Uses only the store's plain calls (the next ML Metadata has no filter queries), so it works on sqlite, MySQL
and PostgreSQL alike. The highest id is the newest: ids are assigned in order, clocks can go backwards.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

PIPELINE_TYPE, RUN_TYPE, NODE_TYPE = "pipeline", "pipeline_run", "node"  # TFX's context types

# Property of a run's context: the folder of its artifacts. Small graphs, which are not listed as runs, have only this.
PIPELINE_ROOT = "pipeline_root"

INPUT_EVENTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)
OUTPUT_EVENTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)

Value = str | int | float | bool


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact written by a component."""

    id: int
    type: str
    """`Model`, `Examples`, ..."""
    uri: str
    state: str
    """`LIVE`, `DELETED`, ..."""
    properties: Mapping[str, Value]
    """Properties and custom properties."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """One execution of a component, also if cached."""

    id: int
    node: str
    """`Trainer`, `Evaluator`, ..."""
    state: str
    """`COMPLETE`, `CACHED`, `FAILED`, `RUNNING`, ..."""
    milliseconds: int
    """Registration time since the epoch."""
    properties: Mapping[str, Value]
    inputs: Mapping[str, tuple[int, ...]]
    """Artifact ids by input key."""
    outputs: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the whole graph."""

    number: int
    """1, 2, ... in order of start."""
    name: str
    """TFX's run id."""
    properties: Mapping[str, Value]
    """The properties written by `run_record.py`."""
    executions: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class History:
    """All records of one task."""

    task: str
    artifacts: Mapping[int, Artifact]
    executions: Mapping[int, Execution]
    runs: tuple[Run, ...]
    """In order of start."""

    def producer(self, artifact_id: int) -> Execution | None:
        """The execution that wrote an artifact, not a cached one; None: imported, or not of this task."""
        for execution in self.executions.values():
            if execution.state != "CACHED" and artifact_id in flat(execution.outputs):
                return execution
        return None

    def consumers(self, artifact_id: int) -> list[Execution]:
        """The executions that read an artifact, oldest first."""
        return [e for e in self.executions.values() if artifact_id in flat(e.inputs)]

    def run_of(self, execution_id: int) -> Run | None:
        """The run of an execution; None for an execution outside runs (a rollback)."""
        return next((run for run in self.runs if execution_id in run.executions), None)

    def of_type(self, *names: str) -> list[Artifact]:
        """Artifacts of the given types, oldest first."""
        return [artifact for artifact in self.artifacts.values() if artifact.type in names]

    def ancestors(self, artifact_id: int, *, stop: frozenset[str] = frozenset()) -> set[int]:
        """Ids of all ancestors of an artifact, including itself.

        Args:
            artifact_id: the starting artifact.
            stop: input keys whose artifacts are included but not followed further.
        """
        found, todo = {artifact_id}, [artifact_id]
        while todo:
            execution = self.producer(todo.pop())
            for key, ids in execution.inputs.items() if execution else ():
                new = set(ids) - found
                found |= new
                todo += [] if key in stop else sorted(new)
        return found


def flat(artifacts: Mapping[str, tuple[int, ...]]) -> set[int]:
    """All ids of an execution's inputs or outputs."""
    return {artifact_id for ids in artifacts.values() for artifact_id in ids}


def read_history(store: MetadataStore, *, task: str) -> History:
    """Reads the records of a task.

    Raises:
        UserError: the task has no records.
    """
    pipeline = store.get_context_by_type_and_name(PIPELINE_TYPE, task)
    if pipeline is None:
        raise UserError(
            f"ML Metadata knows no run of task {task}; {typed.command('pipeline', task=task)} first"
        )
    executions = sorted(store.get_executions_by_context(pipeline.id), key=lambda e: e.id)
    ids = [e.id for e in executions]
    events = store.get_events_by_execution_ids(ids) if ids else []
    artifacts = store.get_artifacts_by_id(sorted({e.artifact_id for e in events})) if events else []
    types = {t.id: t.name for t in store.get_artifact_types()}
    nodes = _nodes(store, task)
    events_of: dict[int, list[pb.Event]] = collections.defaultdict(list)
    for event in events:
        events_of[event.execution_id].append(event)
    return History(
        task=task,
        artifacts={a.id: _artifact(a, types[a.type_id]) for a in sorted(artifacts, key=lambda a: a.id)},
        executions={e.id: _execution(e, nodes.get(e.id, ""), events_of[e.id]) for e in executions},
        runs=tuple(_runs(store, frozenset(ids), nodes)),
    )


def _nodes(store: MetadataStore, task: str) -> dict[int, str]:
    """Node id by execution id."""
    contexts = [c for c in store.get_contexts_by_type(NODE_TYPE) if c.name.startswith(f"{task}.")]
    return {
        execution.id: context.name.removeprefix(f"{task}.")
        for context in contexts
        for execution in store.get_executions_by_context(context.id)
    }


def _runs(store: MetadataStore, known: frozenset[int], nodes: Mapping[int, str]) -> Iterator[Run]:
    """The runs that produced a model or recorded themselves; small graphs of one job are not runs."""
    number = 0
    for context in sorted(store.get_contexts_by_type(RUN_TYPE), key=lambda c: c.id):
        ids = tuple(sorted(e.id for e in store.get_executions_by_context(context.id) if e.id in known))
        is_recorded = any(key != PIPELINE_ROOT for key in context.custom_properties)
        if ids and (is_recorded or "Trainer" in {nodes.get(i) for i in ids}):
            number += 1
            yield Run(number, context.name, _values(context.custom_properties), ids)


def _artifact(artifact: pb.Artifact, type_name: str) -> Artifact:
    # Artifacts older than states have no state; TFX treats them as live.
    state = pb.Artifact.State.Name(artifact.state or pb.Artifact.LIVE)
    values = _values(artifact.properties) | _values(artifact.custom_properties)
    return Artifact(artifact.id, type_name, artifact.uri, state, values)


def _execution(execution: pb.Execution, node: str, events: Iterable[pb.Event]) -> Execution:
    inputs: dict[str, list[int]] = collections.defaultdict(list)
    outputs: dict[str, list[int]] = collections.defaultdict(list)
    for event in events:
        side = inputs if event.type in INPUT_EVENTS else outputs if event.type in OUTPUT_EVENTS else None
        if side is not None:
            side[event_key(event)].append(event.artifact_id)
    return Execution(
        id=execution.id,
        node=node,
        state=pb.Execution.State.Name(execution.last_known_state),
        milliseconds=execution.create_time_since_epoch,
        properties=_values(execution.custom_properties),
        inputs={key: tuple(ids) for key, ids in sorted(inputs.items())},
        outputs={key: tuple(ids) for key, ids in sorted(outputs.items())},
    )


def event_key(event: pb.Event) -> str:
    """The input or output key of an event."""
    return next((step.key for step in event.path.steps if step.HasField("key")), "")


def _values(properties: Mapping[str, pb.Value]) -> dict[str, Value]:
    simple = ("string_value", "int_value", "double_value", "bool_value")
    return {
        key: getattr(value, value.WhichOneof("value"))
        for key, value in sorted(properties.items())
        if value.WhichOneof("value") in simple
    }
