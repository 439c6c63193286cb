"""Writes summary, report and model card of runs that were killed after their push.

`unfinished.py` has already recorded the push; the content comes from the run's artifacts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from bert_pipeline.history import compare
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import RUN_TYPE, History, Run, read_history
from bert_pipeline.report import after_run
from bert_pipeline.running import summary
from bert_pipeline.running.local_runner import NodeResult
from bert_pipeline.running.summary import DataReport
from bert_pipeline.serving_folder import unfinished
from bert_pipeline.settings import config
from bert_pipeline.settings.paths import RunPaths

_NOTE = "the run was killed after its push; what comes after a push was left out"


def complete(
    store: MetadataStore,
    paths: RunPaths,
    connection: metadata_store_pb2.ConnectionConfig,
    *,
    say: Callable[[str], None],
) -> None:
    """Writes missing records; errors do not affect the calling verb.

    Args:
        store: ML Metadata.
        paths: of the task.
        connection: of the same store.
        say: called with a line for each run.
    """
    for run_id in unfinished.without_summary(store):
        try:
            history = read_history(store, task=paths.task_name)
            run = next((run for run in history.runs if run.name == run_id), None)
            if run is None:  # of another task in the same store
                continue
            report = _report(history, run, paths, connection)
            run_record.put(store, run_id, {run_record.SUMMARY: summary.as_json(report)})
            say(
                f"run {run.number} was killed after it had pushed version {report.version}; its record is complete now"
            )
            num_examples = _loaded(run.properties).task.report.examples
            after_run.Reports(store, paths, num_examples=num_examples, say=say).tell(run_id)
        except Exception as error:
            logging.getLogger(__name__).exception("the record of run %s was not completed", run_id)
            sentence = f"killed after its push, and its record could not be completed: {error}"
            run_record.put(store, run_id, {run_record.ERROR: sentence})


def _report(
    history: History, run: Run, paths: RunPaths, connection: metadata_store_pb2.ConnectionConfig
) -> summary.RunReport:
    executions = [history.executions[i] for i in run.executions]
    results = [
        NodeResult(e.node, "cached" if e.state == "CACHED" else "ran", 0.0, execution_id=e.id)
        for e in executions
        if e.state in ("COMPLETE", "CACHED")
    ]
    spans = compare.spans(history, run)
    return summary.collect(
        results,
        connection=connection,
        loaded=_loaded(run.properties),
        paths=paths,
        data=DataReport(trained_on=spans, evaluated_on=spans[-1] if spans else "", notes=(_NOTE,)),
        seconds=0.0,
    )


def loaded_of(store: MetadataStore, run_id: str) -> config.LoadedTask:
    """The task settings of the run, not of the current file."""
    properties = store.get_context_by_type_and_name(RUN_TYPE, run_id).custom_properties
    return _loaded({key: value.string_value for key, value in properties.items()})


def _loaded(properties: Mapping[str, object]) -> config.LoadedTask:
    values = _without_none(json.loads(str(properties[run_record.SETTINGS])))
    source = str(properties.get(run_record.TASK_FILE, ""))
    task = config.parse_task(values, source=source)
    return config.LoadedTask(
        task=task,
        path=Path(source),
        data_dir=Path(str(properties.get(run_record.DATA_DIR, ""))),
    )


def _without_none(value: Any) -> Any:
    """Converts values to their TOML form."""
    if isinstance(value, dict):
        return {key: _without_none(v) for key, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value
