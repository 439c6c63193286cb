"""The graph of a task for notebooks: runs components one by one, separate from the model in service."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path

from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.experimental.interactive.interactive_context import InteractiveContext

from bert_pipeline import pipeline
from bert_pipeline.components import schema
from bert_pipeline.data import spans
from bert_pipeline.encoders.resolve import check_max_seq_length, default_cache_dir, resolve_encoder
from bert_pipeline.metadata import database
from bert_pipeline.running.local_runner import without_arguments
from bert_pipeline.settings import typed
from bert_pipeline.settings.config import PROJECT_ROOT, load_task
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths, run_paths
from bert_pipeline.settings.run_log import LOG_FORMAT, descriptors_to, quiet_library_loggers


@dataclasses.dataclass(frozen=True)
class InteractiveGraph:
    """A graph whose components are run on request."""

    context: InteractiveContext
    """TFX's context; `context.show(channel)` shows a component's output."""
    components: dict[str, BaseNode]
    """Components by id, in execution order, from `pipeline.task_components`."""
    parts: pipeline.Parts
    """The parts of the components; `parts.paths` has the output folders."""

    def run(self, *ids: str) -> None:
        """Runs components by `context.run` and prints the time of each.

        Output of libraries and child processes goes to `interactive.log` among the logs; Python's own output, such
        as the progress of a training, does not.

        Args:
            ids: of components whose inputs exist.
        """
        for component_id in ids:
            started = time.monotonic()
            with descriptors_to(self.parts.paths.logs / "interactive.log"), without_arguments():
                self.context.run(self.components[component_id])
            print(f"  {component_id:<24}{time.monotonic() - started:7.1f} s", flush=True)

    def uri(self, component_id: str, output: str) -> str:
        """Folder of a component's output.

        Args:
            component_id: of a component that was run.
            output: key of an output with one artifact.

        Raises:
            UserError: the component was not run.
        """
        artifacts = self.components[component_id].outputs[output].get()
        if not artifacts or not artifacts[0].uri:
            raise UserError(f"{component_id} has not run yet; run it first: graph.run({component_id!r})")
        return str(artifacts[0].uri)


def interactive_graph(task: str, *, out: str | Path, data: str = "") -> InteractiveGraph:
    """Builds the graph of a task's newest span for a notebook.

    Writes everything under `out/<task>/interactive`, with a separate metadata store and push destination: the output of
    pipeline runs is neither read nor changed. Ignores a window of spans (`data.window`).

    Args:
        task: name of a file in `tasks/`, or a path to one.
        out: output folder of the runs.
        data: data folder to use instead of the task's.

    Raises:
        UserError: the task, its data or its encoder cannot be used, or it has no schema yet.
    """
    loaded = load_task(task, data=data)
    if not loaded.schema_path.exists():
        raise UserError(
            f"task {loaded.task.name} has no schema yet; {typed.command('pipeline', task=task)} infers one into "
            f"{loaded.schema_path}"
        )
    root = run_paths(loaded.task.name, out=out).root / "interactive"
    paths = RunPaths(root=root, task_name=loaded.task.name)
    paths.logs.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=paths.logs / "interactive.log", level=logging.INFO, format=LOG_FORMAT, force=True
    )
    quiet_library_loggers()
    encoder = resolve_encoder(
        loaded.task.encoder, cache_dir=default_cache_dir(), base_dir=PROJECT_ROOT, progress=print
    )
    check_max_seq_length(loaded.task.text.max_seq_length, encoder=encoder)
    parts = pipeline.Parts(
        loaded=loaded,
        encoder=encoder,
        paths=paths,
        schema_pbtxt=schema.read_curated_schema(loaded.schema_path),
        span=pipeline.SpanParts(
            span=spans.resolve_window(loaded).newest, report_path=paths.anomalies("interactive")
        ),
    )
    context = InteractiveContext(
        pipeline_name=f"{loaded.task.name}.interactive",
        pipeline_root=str(paths.pipeline_root),
        metadata_connection_config=database.connection_config("", sqlite_path=paths.metadata),
        beam_pipeline_args=list(pipeline.BEAM_ARGS),
    )
    return InteractiveGraph(context, {node.id: node for node in pipeline.task_components(parts)}, parts)
