"""Finds models by version, id or path, and names spans as users do: `2` or `2025-07-01`."""

from __future__ import annotations

from collections.abc import Iterable

from ml_metadata import MetadataStore

from bert_pipeline.data.spans import span_name
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import History
from bert_pipeline.serving_folder.served import ServedVersion, model_of_version
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError


def find_model(
    history: History, store: MetadataStore, versions: Iterable[ServedVersion], wanted: str
) -> tuple[int, ServedVersion | None]:
    """Finds the model that a word names.

    Args:
        history: of the task.
        store: ML Metadata.
        versions: of the served folder, lowest first.
        wanted: a version, a Model artifact's id, or the path of either; empty for the model in service.

    Raises:
        UserError: no such model.
    """
    served = list(versions)
    models = {artifact.id: artifact for artifact in history.of_type("Model")}
    if not wanted and not served:
        raise UserError(f"no version of {history.task} is in service yet; name a model: {sorted(models)}")
    word = wanted.rstrip("/") or str(served[-1].version)
    for version in served:
        if word in (version.folder.name, str(version.folder)):
            model = model_of_version(store, version)
            if model not in models:
                raise UserError(
                    f"version {version.version} is in {version.folder}, but ML Metadata does not know its model; "
                    f"it was put there by hand, or by a run with "
                    f"another {typed.name('out')} or {typed.name('metadata')}"
                )
            return models[model].id, version
    for model_id, artifact in models.items():
        if word in (str(model_id), artifact.uri):
            return model_id, None
    pushed = pushed_versions(history).get(word)
    if pushed is not None:
        return pushed, None
    raise UserError(
        f"{wanted!r} is no version and no model of {history.task}; "
        f"versions: {[v.version for v in served]}, models: {sorted(models)}"
    )


def pushed_versions(history: History) -> dict[str, int]:
    """Version to model of the recorded pushes, including versions whose folder was removed."""
    found = {}
    for execution in history.executions.values():
        for artifact_id in execution.outputs.get("pushed_model", ()):
            push = history.artifacts[artifact_id].properties
            if push.get("pushed") == 1 and execution.inputs.get("model"):
                found[str(push.get("pushed_version"))] = execution.inputs["model"][0]
    return found


def name_of_span(history: History, span: int) -> str:
    """The span as written by the user; a number if no run recorded its settings; empty for 0 (no span).

    Example:
        >>> name_of_span(history, 20270)  # data.files = {"all": "{YYYY}-{MM}-{DD}/rows.csv"}
        '2025-07-01'
    """
    if not span:
        return ""
    for run in reversed(history.runs):
        settings = run_record.settings_of(run.properties)
        if settings:
            patterns = (str(v) for key, v in settings.items() if key.startswith("data.files."))
            return span_name(span, by_date=any("{YYYY}" in pattern for pattern in patterns))
    return str(span)
