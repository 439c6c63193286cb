"""The facts of a report: one run in ML Metadata, and the artifacts that it wrote or reused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore

from bert_pipeline.history.names import name_of_span
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import RUN_TYPE, Artifact, Execution, History, Run, read_history
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths


@dataclasses.dataclass(frozen=True)
class Source:
    """One recorded run."""

    store: MetadataStore
    history: History
    run: Run
    paths: RunPaths
    num_examples: int
    """Maximum texts of each kind to quote; 0 for none."""

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json of the run; empty if it stopped before writing one."""
        text = self.run.properties.get(run_record.SUMMARY)
        return json.loads(text) if isinstance(text, str) else {}

    @property
    def settings(self) -> dict[str, Any]:
        """The task settings of the run; empty if not recorded."""
        text = self.run.properties.get(run_record.SETTINGS)
        return json.loads(text) if isinstance(text, str) else {}

    @property
    def outcome(self) -> str:
        """`pushed`, `refused`, `in service already`, `stopped`; empty if killed."""
        return str(self.run.properties.get(run_record.OUTCOME) or "")

    @property
    def error(self) -> str:
        """The error that stopped it; empty if it did not stop."""
        return str(self.run.properties.get(run_record.ERROR) or "")

    @property
    def labels(self) -> tuple[str, ...]:
        """`data.labels`."""
        return tuple(self.settings.get("data", {}).get("labels", ()))

    def execution(self, node: str) -> Execution | None:
        """A component's execution in this run; None if the run did not reach it."""
        found = [self.history.executions[i] for i in self.run.executions]
        return next((e for e in reversed(found) if e.node == node), None)

    def artifact(self, node: str, key: str) -> Artifact | None:
        """An output of a component in this run; None if there is none."""
        execution = self.execution(node)
        ids = execution.outputs.get(key, ()) if execution else ()
        return self.history.artifacts[ids[0]] if ids else None

    def folder(self, node: str, key: str) -> Path | None:
        """Folder of an output; None if there is none or it was removed."""
        artifact = self.artifact(node, key)
        return _there(artifact) if artifact else None

    def given(self, node: str, key: str) -> list[Artifact]:
        """Inputs of a component in this run."""
        execution = self.execution(node)
        return [self.history.artifacts[i] for i in (execution.inputs.get(key, ()) if execution else ())]

    def statistics(self) -> dict[str, Path]:
        """`span 2` or `data` to folder of the statistics used in the run, newest first."""
        own = self.artifact("StatisticsGen", "statistics")
        found = [*([own] if own else []), *self.given("ExampleValidator", "reference_statistics")]
        for examples in self.given("Transform", "examples"):
            found += [
                self.history.artifacts[i]
                for e in self.history.consumers(examples.id)
                if e.node == "StatisticsGen"
                for i in e.outputs.get("statistics", ())
            ]
        by_span = {self._span_of(artifact): folder for artifact in found if (folder := _there(artifact))}
        return {
            f"span {name_of_span(self.history, span)}" if span else "data": by_span[span]
            for span in sorted(by_span, reverse=True)
        }

    def _span_of(self, statistics: Artifact) -> int:
        """0 if the data has no spans."""
        producer = self.history.producer(statistics.id)
        examples: Iterable[int] = producer.inputs.get("examples", ()) if producer else ()
        spans = [self.history.artifacts[i].properties.get("span") for i in examples]
        return max((int(span) for span in spans if span), default=0)


def _there(artifact: Artifact) -> Path | None:
    folder = Path(artifact.uri)
    return folder if folder.is_dir() else None


def source_of(store: MetadataStore, *, paths: RunPaths, run_name: str, num_examples: int) -> Source:
    """Reads the facts of one run.

    Args:
        store: ML Metadata.
        paths: of the task.
        run_name: TFX's run id.
        num_examples: `report.examples`.

    Raises:
        UserError: ML Metadata does not know the run.
    """
    history = read_history(store, task=paths.task_name)
    run = next((run for run in history.runs if run.name == run_name), None)
    context = store.get_context_by_type_and_name(RUN_TYPE, run_name)
    if run is None and context is not None:
        # The run stopped while reading older spans, before its own first execution, so it has no number.
        values = {key: value.string_value for key, value in context.custom_properties.items()}
        run = Run(0, run_name, values, ())
    if run is None:
        raise UserError(f"ML Metadata knows no run {run_name} of task {paths.task_name}")
    return Source(store=store, history=history, run=run, paths=paths, num_examples=num_examples)
