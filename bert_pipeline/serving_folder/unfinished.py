"""Repairs the records of killed runs, pushes and rollbacks when the next verb starts.

The served folder is the truth, and the provenance in each version names its origin. Both complete the record in
ML Metadata and the list of withdrawn models. Executions of ended processes do not stay RUNNING.
"""

from __future__ import annotations

from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import PIPELINE_ROOT, PIPELINE_TYPE, RUN_TYPE
from bert_pipeline.serving_folder import atomic_push, push_record, served
from bert_pipeline.serving_folder.served import (
    COPY_OF,
    PIPELINE_RUN,
    ROLLBACK_EXECUTION,
    ServedVersion,
    model_of_provenance,
    model_of_version,
    served_versions,
)
from bert_pipeline.settings.paths import RunPaths, exclusive_if_free, not_in_use
from bert_pipeline.settings.whole_file import beside

_PUSHER = "Pusher"


def settle_if_free(store: MetadataStore, paths: RunPaths) -> None:
    """Calls `settle` unless a run of the task is in progress, which does it itself."""
    with exclusive_if_free(paths) as is_ours:
        if is_ours:
            settle(store, paths)


def settle(store: MetadataStore, paths: RunPaths) -> list[str]:
    """Completes unfinished records and ends abandoned executions.

    Args:
        store: ML Metadata.
        paths: of the task; the caller has its lock (`paths.exclusive`).

    Returns:
        Messages for the user: what could not be completed.
    """
    base_dir = paths.push_destination
    if base_dir.is_dir():
        atomic_push.remove_leftovers(base_dir)
        beside(base_dir / served.WITHDRAWN_FILE).unlink(missing_ok=True)
    recorded = {
        # The folder may have moved since, but not been renamed: versions are seconds since the epoch.
        Path(p.custom_properties["pushed_destination"].string_value).parts[-2:]
        for p in store.get_artifacts_by_type("PushedModel")
        if p.custom_properties["pushed"].int_value == 1
    }
    versions = served_versions(base_dir)
    for version in versions:
        if version.folder.parts[-2:] not in recorded:
            _complete(store, paths, version)
    if versions and served.withdrawn(base_dir):
        served.reinstate(base_dir, fingerprint=atomic_push.fingerprint(versions[-1].folder))
    with not_in_use(paths) as nothing_runs:
        if nothing_runs:
            _end_executions(store, paths)
    if versions and model_of_version(store, versions[-1]) is None:
        return [
            f"version {versions[-1].version} is in service and not known to ML Metadata (put there by hand, or by a "
            "run with another store or output folder), so nothing is compared with it"
        ]
    return []


def without_summary(store: MetadataStore) -> list[str]:
    """Ids of the runs that pushed a version and were killed before they recorded it: see `recovered.py`."""
    runs = store.get_contexts_by_type(RUN_TYPE)
    return [run.name for run in runs if _said(run, run_record.OUTCOME) == "pushed" and not _has_said(run)]


def _has_said(run: pb.Context) -> bool:
    return bool(_said(run, run_record.SUMMARY) or _said(run, run_record.ERROR))


def _said(run: pb.Context, key: str) -> str:
    return run.custom_properties[key].string_value if key in run.custom_properties else ""


def _complete(store: MetadataStore, paths: RunPaths, version: ServedVersion) -> None:
    """Records the push of a version, if its provenance leads to a run or a rollback that this store knows."""
    model = model_of_provenance(store, version.provenance)
    if model is None:
        return
    if COPY_OF in version.provenance:
        rollback = _rollback(store, version)
        if rollback is not None:
            push_record.finish_rollback(store, paths, rollback, version=version.version)
        return
    run = version.provenance[PIPELINE_RUN]
    context = push_record.contexts(store, paths.task_name, node=_PUSHER, run=run)
    push_record.put_pushed_model(
        store,
        paths,
        _pusher(store, paths, run, model, context),
        version=version.version,
        context=context,
        reason=f"pushed as version {version.version}; recorded afterwards, for the run was killed",
        folder=_PUSHER,
    )
    of_run = store.get_context_by_type_and_name(RUN_TYPE, run)
    if not of_run.custom_properties[run_record.OUTCOME].string_value:
        of_run.custom_properties[run_record.OUTCOME].string_value = "pushed"
        store.put_contexts([of_run])


def _rollback(store: MetadataStore, version: ServedVersion) -> pb.Execution | None:
    """The execution that made a copy; None if this store does not have it."""
    text = version.provenance.get(ROLLBACK_EXECUTION, "")
    found = store.get_executions_by_id([int(text)]) if text.isdecimal() else []
    return next((e for e in found if push_record.WITHDRAWS in e.custom_properties), None)


def _pusher(
    store: MetadataStore, paths: RunPaths, run: str, model: int, context: list[pb.Context]
) -> pb.Execution:
    """The Pusher's execution in a run: the one that TFX started, or a new one with the same inputs."""
    of_run = store.get_context_by_type_and_name(RUN_TYPE, run)
    of_node = {e.id for e in _executions(store, "node", f"{paths.task_name}.{_PUSHER}")}
    begun = [e for e in store.get_executions_by_context(of_run.id) if e.id in of_node]
    if begun:
        return max(begun, key=lambda e: e.id)
    execution = pb.Execution(
        type_id=store.put_execution_type(pb.ExecutionType(name=_PUSHER)),
        last_known_state=pb.Execution.RUNNING,
    )
    inputs = [
        (artifact, push_record.event("model", pb.Event.INPUT))
        for artifact in store.get_artifacts_by_id([model])
    ]
    ids = store.put_execution(execution, inputs, context, reuse_context_if_already_exist=True)
    return store.get_executions_by_id([ids[0]])[0]


def _end_executions(store: MetadataStore, paths: RunPaths) -> None:
    """Marks executions of this folder's runs and rollbacks that cannot be running as FAILED."""
    running = {
        e.id: e
        for e in _executions(store, PIPELINE_TYPE, paths.task_name)
        if e.last_known_state in (pb.Execution.RUNNING, pb.Execution.NEW)
    }
    gone = []
    for execution in running.values():
        runs = [c for c in store.get_contexts_by_execution(execution.id) if _is_run(store, c)]
        is_ours = any(_said(c, PIPELINE_ROOT) == str(paths.pipeline_root) or _is_older(c) for c in runs)
        if is_ours or push_record.WITHDRAWS in execution.custom_properties:
            execution.last_known_state = pb.Execution.FAILED
            gone.append(execution)
    if gone:
        store.put_executions(gone)


def _is_older(run: pb.Context) -> bool:
    """Whether the run is older than the recorded output folder."""
    return PIPELINE_ROOT not in run.custom_properties and run_record.SETTINGS in run.custom_properties


def _is_run(store: MetadataStore, context: pb.Context) -> bool:
    found = store.get_context_by_type_and_name(RUN_TYPE, context.name)
    return found is not None and found.id == context.id


def _executions(store: MetadataStore, kind: str, name: str) -> list[pb.Execution]:
    context = store.get_context_by_type_and_name(kind, name)
    return list(store.get_executions_by_context(context.id)) if context else []
