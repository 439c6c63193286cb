"""The versions in the served folder, their recorded models, and the withdrawn models.

The folder is the truth: a server serves its highest number, whatever ML Metadata says. Only the folder shows
a push that was killed before it was recorded, or a version that was removed by hand.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.metadata.run_history import INPUT_EVENTS, OUTPUT_EVENTS, RUN_TYPE, event_key
from bert_pipeline.serving_folder.atomic_push import PROVENANCE_PATH
from bert_pipeline.settings.whole_file import write_whole

WITHDRAWN_FILE = ".withdrawn.json"


def withdrawn(base_dir: Path) -> dict[str, dict[str, str]]:
    """Reads the withdrawn models: fingerprint (`atomic_push.fingerprint`) to version, time and reason.

    Args:
        base_dir: base path of the served model.

    Raises:
        ValueError: the file is not a list of withdrawn models.
    """
    path = base_dir / WITHDRAWN_FILE
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}); correct it, or remove it to forget rollbacks"
        ) from error
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise ValueError(f"{path} must hold an object of objects")
    return values


def withdraw(base_dir: Path, *, fingerprint: str, version: int, when: str, reason: str) -> None:
    """Adds a model to the list."""
    entry = {"version": str(version), "when": when, "reason": reason}
    _write(base_dir, withdrawn(base_dir) | {fingerprint: entry})


def reinstate(base_dir: Path, *, fingerprint: str) -> None:
    """Removes a model from the list, if it is there."""
    listed = withdrawn(base_dir)
    if listed.pop(fingerprint, None) is not None:
        _write(base_dir, listed)


def _write(base_dir: Path, listed: dict[str, dict[str, str]]) -> None:
    write_whole(base_dir / WITHDRAWN_FILE, json.dumps(listed, indent=2, ensure_ascii=False) + "\n")


# Keys of provenance.json.
MODEL_ARTIFACT = "model artifact"
PIPELINE_RUN = "pipeline run"
COPY_OF = "copy of version"
REASON = "reason"
ROLLBACK_EXECUTION = "rollback execution"  # id in ML Metadata

_PUSHED_MODEL = "PushedModel"
# Same rule as serving/version_folders.py (int64), which the pipeline does not import.
_NUMBER = re.compile(r"-?[0-9]+")
_MAX_NAME = 1000


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """One version of the served folder."""

    version: int
    folder: Path
    provenance: Mapping[str, str]
    """Contents of its provenance.json; empty if missing or unreadable."""


def served_versions(base_dir: Path) -> list[ServedVersion]:
    """The versions that a server sees, lowest first."""
    if not base_dir.is_dir():
        return []
    names = [p.name for p in base_dir.iterdir() if p.is_dir() and _NUMBER.fullmatch(p.name)]
    # 7 and 007 are the same version; the shorter name wins.
    folders = {int(name): name for name in sorted(names, key=len, reverse=True) if len(name) < _MAX_NAME}
    return [version_in(base_dir, folders[v]) for v in sorted(folders) if -(2**63) <= v < 2**63]


def version_in(base_dir: Path, version: str) -> ServedVersion:
    """A version by its number, whether or not its folder exists."""
    folder = base_dir / version
    return ServedVersion(int(version), folder, _provenance(folder))


def _provenance(folder: Path) -> dict[str, str]:
    try:
        values = json.loads((folder / PROVENANCE_PATH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in values.items()} if isinstance(values, dict) else {}


def model_of_version(store: MetadataStore, version: ServedVersion) -> int | None:
    """Id of the Model artifact that a version is a copy of; None: ML Metadata does not know it.

    Uses the push recorded for this version and folder. Without one, because the push was killed before it
    was recorded, uses the version's provenance if its run is known and had this model: in a new metadata
    store the id would belong to another model.
    """
    pushes = [p for p in store.get_artifacts_by_type(_PUSHED_MODEL) if _names(p, version)]
    models = models_of_pushes(store, [p.id for p in pushes])
    for key in ("pushed", "in_service"):  # a push before a run that found the model there
        ids = [p.id for p in pushes if p.id in models and p.custom_properties[key].int_value == 1]
        if ids:
            return models[max(ids)]
    return model_of_provenance(store, version.provenance)


def _names(push: pb.Artifact, version: ServedVersion) -> bool:
    values = push.custom_properties
    return (values["pushed_version"].string_value, values["pushed_destination"].string_value) == (
        version.folder.name,
        str(version.folder),
    )


def models_of_pushes(store: MetadataStore, push_ids: Sequence[int]) -> dict[int, int]:
    """PushedModel id to Model id: the input `model` of the execution that pushed it."""
    if not push_ids:
        return {}
    push_events = store.get_events_by_artifact_ids(list(push_ids))
    execution_of = {e.artifact_id: e.execution_id for e in push_events if e.type in OUTPUT_EVENTS}
    if not execution_of:
        return {}
    input_events = store.get_events_by_execution_ids(sorted(set(execution_of.values())))
    model_of = {
        e.execution_id: e.artifact_id
        for e in input_events
        if e.type in INPUT_EVENTS and event_key(e) == "model"
    }
    return {push: model_of[execution] for push, execution in execution_of.items() if execution in model_of}


def model_of_provenance(store: MetadataStore, provenance: Mapping[str, str]) -> int | None:
    """Id of the Model that a provenance names; None if its run did not have it in this store."""
    model, run_id = provenance.get(MODEL_ARTIFACT, ""), provenance.get(PIPELINE_RUN, "")
    run = store.get_context_by_type_and_name(RUN_TYPE, run_id) if model.isdecimal() and run_id else None
    if run is None:
        return None
    known = {artifact.id for artifact in store.get_artifacts_by_context(run.id)}
    return int(model) if int(model) in known else None
