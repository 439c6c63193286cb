"""The reference for live traffic: the evaluation at the push, and the training data, of the model in service."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_metadata import MetadataStore

from bert_pipeline.history.lineage import last_evaluator
from bert_pipeline.metadata.run_history import History, flat, read_history
from bert_pipeline.serving_folder.served import ServedVersion, model_of_version, served_versions
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths

# The split whose statistics represent the training data.
_TRAIN = "Split-train"


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A version in service with its evaluation and training data."""

    version: ServedVersion
    model_id: int
    evaluation_uri: str
    """The newest evaluation with this model as the candidate."""

    statistics_dir: Path
    """Statistics of its newest training data."""


def find_served(store: MetadataStore, paths: RunPaths, *, version: int | None) -> ServedModel:
    """Finds the evaluation and training data of a pushed version.

    Args:
        store: of the task.
        paths: of the task.
        version: its number; None for the version in service.

    Raises:
        UserError: nothing is in service, the version does not exist, or ML Metadata does not know it.
    """
    versions = served_versions(paths.push_destination)
    if not versions:
        raise UserError(
            f"nothing is in service in {paths.push_destination}; {typed.command('pipeline')} first"
        )
    wanted = [v for v in versions if version in (None, v.version)]
    if not wanted:
        known = ", ".join(v.folder.name for v in versions)
        raise UserError(
            f"{typed.name('version')}: there is no version {version} in {paths.push_destination}; there are {known}"
        )
    served = wanted[-1]
    model_id = model_of_version(store, served)
    history = read_history(store, task=paths.task_name)
    if model_id is None or model_id not in history.artifacts:
        raise UserError(
            f"version {served.version} was not pushed by a run that ML Metadata knows: nothing to compare with"
        )
    return ServedModel(
        version=served,
        model_id=model_id,
        evaluation_uri=_evaluation(history, model_id),
        statistics_dir=_statistics(history, model_id),
    )


def _evaluation(history: History, model_id: int) -> str:
    evaluator = last_evaluator(history, model_id)
    if evaluator is None:
        raise UserError(f"model {model_id} was never evaluated; run the pipeline again")
    return history.artifacts[evaluator.outputs["evaluation"][-1]].uri


def _statistics(history: History, model_id: int) -> Path:
    ancestors = history.ancestors(model_id, stop=frozenset({"base_model"}))
    found = [
        artifact_id
        for execution in history.executions.values()
        if execution.node == "StatisticsGen" and flat(execution.inputs) & ancestors
        for artifact_id in execution.outputs.get("statistics", ())
    ]
    if not found:
        raise UserError(f"the statistics of the data that made model {model_id} are not in ML Metadata")
    return Path(history.artifacts[max(found)].uri) / _TRAIN
