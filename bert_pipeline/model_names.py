"""The model that a word names: a version, also one whose folder is gone, a Model's id, or the path of one of them."""

from __future__ import annotations

from collections.abc import Iterable

from ml_metadata import MetadataStore

from bert_pipeline import typed
from bert_pipeline.errors import UserError
from bert_pipeline.history import History
from bert_pipeline.served import ServedVersion, model_of_version


def find_model(
    history: History, store: MetadataStore, versions: Iterable[ServedVersion], wanted: str
) -> tuple[int, ServedVersion | None]:
    """The model that a word names.

    Args:
        history: of the task.
        store: ML Metadata.
        versions: of the served folder, the lowest first.
        wanted: a version, a Model artifact's id, or the path of one of the two; empty: what is in service.

    Raises:
        UserError: there is no such model.
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
    """Model by version, of the recorded pushes: also of versions whose folder is gone."""
    found = {}
    for execution in history.executions.values():
        for artifact_id in execution.outputs.get("pushed_model", ()):
            push = history.artifacts[artifact_id].properties
            if push.get("pushed") == 1 and execution.inputs.get("model"):
                found[str(push.get("pushed_version"))] = execution.inputs["model"][0]
    return found
