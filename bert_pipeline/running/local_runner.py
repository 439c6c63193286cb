"""Runs the graph on this machine, one component after the other, and reports each result."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils, tfx_runner
from tfx.proto.orchestration import pipeline_pb2

from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import PIPELINE_ROOT
from bert_pipeline.settings.errors import UserError, is_full_disk, sentence_of
from bert_pipeline.settings.paths import RunPaths

# Property of a failed execution from a separate process: its message.
ERROR = "error"


@dataclasses.dataclass(frozen=True)
class NodeResult:
    """The result of one component."""

    node_id: str
    state: str
    """`ran`, `cached`, `failed`, or `skipped` (a component that it needs failed)."""

    seconds: float
    execution_id: int = 0
    """Id in ML Metadata; 0 if none."""

    error: str = ""

    @property
    def line(self) -> str:
        """Line of output: `  Trainer                   12.3 s`."""
        took = "cached" if self.state == "cached" else f"{self.seconds:6.1f} s"
        note = {"failed": f"  FAILED: {self.error}", "skipped": "  skipped"}.get(self.state, "")
        return f"  {self.node_id:<24}{took:>9}{note}"


def run_components(
    components: Sequence[BaseNode],
    *,
    task_name: str,
    paths: RunPaths,
    connection: metadata_store_pb2.ConnectionConfig,
    **how: Any,
) -> list[NodeResult]:
    """Runs components as a separate graph in the task's pipeline, so it shares the task's cache.

    `how` are arguments of `LocalRunner`; errors are those of its `run`.
    """
    graph = pipeline_of(components, task_name=task_name, paths=paths, connection=connection)
    return LocalRunner(**how).run(graph)


def pipeline_of(
    components: Sequence[BaseNode],
    *,
    task_name: str,
    paths: RunPaths,
    connection: metadata_store_pb2.ConnectionConfig,
) -> tfx_pipeline.Pipeline:
    """Components as a graph of the task's pipeline."""
    from bert_pipeline.pipeline import create_pipeline  # a process for one component does not need it

    return create_pipeline(
        task_name, components=components, pipeline_root=paths.pipeline_root, metadata=connection
    )


@contextlib.contextmanager
def without_arguments() -> Iterator[None]:
    """Hides the command line from a component.

    TFX's Beam executors parse sys.argv again as absl flags, where -v is a number; an option of this project or of
    pytest with the name of a library's flag would stop the component, or set that flag.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


class LocalRunner(tfx_runner.IrBasedRunner):
    """TFX's LocalDagRunner, plus: results per component, optional components, components never cached.

    An optional component may fail without failing the run. A component that is never cached must detect
    itself that there is nothing to do: the model in service can change without ML Metadata.
    """

    def __init__(
        self,
        *,
        on_start: Callable[[str], None] = lambda _: None,
        on_end: Callable[[NodeResult], None] = lambda _: None,
        optional: Collection[str] = (),
        never_cached: Collection[str] = (),
        run_id: str = "",
    ) -> None:
        """Sets up the runner.

        Args:
            on_start: called with a component's id before it runs.
            on_end: called with its result.
            optional: ids of components whose failure does not stop the run.
            never_cached: ids of components that always run.
            run_id: name of the run in ML Metadata; empty for the time.
        """
        self._run_id = run_id
        self._on_start = on_start
        self._on_end = on_end
        self._optional = frozenset(optional)
        self._never_cached = frozenset(never_cached)

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
        **kwargs: Any,
    ) -> list[NodeResult]:
        """Runs a compiled pipeline.

        Returns:
            One result per component, in the order they ran.

        Raises:
            UserError: a component that is not optional failed; the message says why.
        """
        _begin(pipeline, self._run_id or datetime.now().isoformat(), never_cached=self._never_cached)
        return self.run_nodes(pipeline)

    def run_nodes(self, graph: pipeline_pb2.Pipeline) -> list[NodeResult]:
        """Runs the components of a graph of `compile_graph`; see `run_with_ir`."""
        results: list[NodeResult] = []
        for node in graph.nodes:
            node_id = node.pipeline_node.node_info.id
            lost = {r.node_id for r in results if r.state in ("failed", "skipped")}
            if lost & set(node.pipeline_node.upstream_nodes):
                result = NodeResult(node_id, "skipped", 0.0)
            else:
                self._on_start(node_id)
                result = run_node(graph, node_id)
            results.append(result)
            self._on_end(result)
            if result.state == "failed" and node_id not in self._optional:
                raise UserError(f"{node_id} stopped the run: {result.error}")
        return results


class _Compiler(tfx_runner.IrBasedRunner):
    """TFX's runner up to compiling the graph and packing the user's modules."""

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
        **kwargs: Any,
    ) -> pipeline_pb2.Pipeline:
        return pipeline


def compile_graph(
    graph: tfx_pipeline.Pipeline, *, run_id: str, never_cached: Collection[str] = ()
) -> pipeline_pb2.Pipeline:
    """Compiles a graph for one run; any process can run its components (`run_node`).

    Args:
        graph: of `pipeline.create_pipeline`.
        run_id: name of the run in ML Metadata.
        never_cached: ids of components that always run.
    """
    compiled: pipeline_pb2.Pipeline = _Compiler().run(graph)
    _begin(compiled, run_id, never_cached=frozenset(never_cached))
    return compiled


def _begin(graph: pipeline_pb2.Pipeline, run_id: str, *, never_cached: Collection[str]) -> None:
    runtime_parameter_utils.substitute_runtime_parameter(
        graph, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    for node in graph.nodes:
        if node.pipeline_node.node_info.id in never_cached:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    _record_root(graph, run_id)


def run_node(graph: pipeline_pb2.Pipeline, node_id: str) -> NodeResult:
    """Runs one component; finds its inputs and outputs only through ML Metadata.

    Args:
        graph: of `compile_graph`.
        node_id: a component's id, such as `Trainer`.

    Raises:
        KeyError: the graph has no such component.
    """
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in graph.nodes}
    node = nodes[node_id]
    deployment = runner_utils.extract_local_deployment_config(graph)
    connection = _connection(graph)
    started = time.monotonic()
    try:
        with without_arguments():
            info = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=graph.pipeline_info,
                pipeline_runtime_spec=graph.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
            ).launch()
    except Exception as error:  # executors may raise anything; the launcher has recorded it
        return NodeResult(node_id, "failed", time.monotonic() - started, error=_message(error))
    execution_id = info.execution_id if info else 0
    state, error_text = _state(connection, execution_id)
    return NodeResult(node_id, state, time.monotonic() - started, execution_id, error=error_text)


def _connection(pipeline: pipeline_pb2.Pipeline) -> metadata_store_pb2.ConnectionConfig:
    wrapped = runner_utils.extract_local_deployment_config(pipeline).metadata_connection_config
    return getattr(wrapped, wrapped.WhichOneof("connection_config"))


def _record_root(pipeline: pipeline_pb2.Pipeline, run_id: str) -> None:
    """Records the output folder on the run's context before TFX starts: see `unfinished.py`."""
    root = pipeline.runtime_spec.pipeline_root.field_value.string_value
    with metadata.Metadata(_connection(pipeline)) as handle:
        run_record.put(handle.store, run_id, {PIPELINE_ROOT: root})


def _state(connection: metadata_store_pb2.ConnectionConfig, execution_id: int) -> tuple[str, str]:
    """State and error of an execution; TFX only records the failure of a resolver, without raising."""
    with metadata.Metadata(connection) as handle:
        executions = handle.store.get_executions_by_id([execution_id])
    return state_of(executions[0]) if executions else ("ran", "")


def state_of(execution: metadata_store_pb2.Execution) -> tuple[str, str]:
    """State of a `NodeResult`, and its error."""
    states = metadata_store_pb2.Execution
    if execution.last_known_state in (states.COMPLETE, states.CACHED):
        return ("cached" if execution.last_known_state == states.CACHED else "ran"), ""
    properties = execution.custom_properties
    if ERROR in properties:
        return "failed", properties[ERROR].string_value
    result = properties["__execution_result__"].string_value
    text = json.loads(result).get("resultMessage", "") if result else ""
    return "failed", _message(RuntimeError(text or "it failed without a message"))


def _message(error: BaseException) -> str:
    """The message for the user; Beam re-raises a worker's error as text that includes the traceback."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, UserError):
            return str(link).partition(" [while running")[0]
        link = link.__cause__
    inner = re.findall(
        r"bert_pipeline\.(?:[\w.]+\.)?errors\.UserError: (.+?)(?: \[while running|\n\n|\Z)", str(error), re.S
    )
    if inner:
        return str(inner[-1])
    return (
        is_full_disk(error) and sentence_of(RuntimeError(str(error)))
    ) or f"{type(error).__name__}: {error}"
