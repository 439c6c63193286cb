"""Records a version of the served folder in ML Metadata: who pushed it, and which model it is.

Used by a rollback, and by `unfinished.py` after a push or a rollback was killed before it was recorded.
"""

from __future__ import annotations

import json
import time

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.metadata.run_history import NODE_TYPE, PIPELINE_TYPE, RUN_TYPE
from bert_pipeline.serving_folder import atomic_push, served
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.whole_file import write_whole

# The node of a rollback, and custom properties of its execution, all of them strings.
ROLLBACK = "Rollback"
REASON = "reason"
TO_VERSION = "to_version"
WITHDRAWS = "withdraws"  # fingerprint of the model in service before; empty: the rollback went forward
WITHDRAWN_AS = "withdrawn_as"  # the version under which a run had pushed it


def contexts(store: MetadataStore, task: str, *, node: str, run: str = "") -> list[pb.Context]:
    """Contexts of pipeline, node and run with TFX's names, so resolvers see this push like any other."""
    names = [(PIPELINE_TYPE, task), (NODE_TYPE, f"{task}.{node}"), *([(RUN_TYPE, run)] if run else [])]
    return [
        pb.Context(type_id=store.put_context_type(pb.ContextType(name=kind)), name=name)
        for kind, name in names
    ]


def event(key: str, kind: int) -> pb.Event:
    """An event for the only artifact under a key."""
    path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
    return pb.Event(type=kind, path=path)


def finish_rollback(store: MetadataStore, paths: RunPaths, execution: pb.Execution, *, version: int) -> None:
    """Completes a rollback after the copy; idempotent.

    Args:
        store: ML Metadata.
        paths: of the task.
        execution: of the rollback, as started by `rollback.py`.
        version: the new one, which is in service.
    """
    values = {key: value.string_value for key, value in execution.custom_properties.items()}
    base_dir = paths.push_destination
    if values.get(WITHDRAWS):
        served.withdraw(
            base_dir,
            fingerprint=values[WITHDRAWS],
            version=int(values[WITHDRAWN_AS]),
            when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            reason=values[REASON],
        )
    # The model in service is never on the list, though an earlier rollback may have withdrawn it.
    served.reinstate(base_dir, fingerprint=atomic_push.fingerprint(base_dir / str(version)))
    execution.custom_properties["version"].string_value = str(version)
    put_pushed_model(
        store,
        paths,
        execution,
        version=version,
        context=contexts(store, paths.task_name, node=ROLLBACK),
        reason=f"rolled back to version {values[TO_VERSION]}: {values[REASON]}",
        folder=ROLLBACK,
    )


def put_pushed_model(
    store: MetadataStore,
    paths: RunPaths,
    execution: pb.Execution,
    *,
    version: int,
    context: list[pb.Context],
    reason: str,
    folder: str,
) -> None:
    """Completes an execution with the PushedModel of a version, with the properties that the Pusher sets.

    Args:
        store: ML Metadata.
        paths: of the task.
        execution: the one that pushed it; has an id.
        version: the new one.
        context: of the execution.
        reason: one sentence.
        folder: of the artifact, among those of the components.
    """
    destination = paths.push_destination / str(version)
    artifact_dir = paths.pipeline_root / folder / "pushed_model" / str(execution.id)
    verdict = {"reason": reason, "destination": str(destination)}
    write_whole(artifact_dir / "push.json", json.dumps(verdict, indent=2) + "\n")
    artifact = pb.Artifact(
        type_id=store.put_artifact_type(
            pb.ArtifactType(name="PushedModel"), can_add_fields=True, can_omit_fields=True
        ),
        uri=str(artifact_dir),
        state=pb.Artifact.LIVE,
    )
    texts = {"pushed_destination": str(destination), "pushed_version": str(version), REASON: reason}
    for key, text in texts.items():
        artifact.custom_properties[key].string_value = text
    for key in ("pushed", "in_service"):
        artifact.custom_properties[key].int_value = 1
    execution.last_known_state = pb.Execution.COMPLETE
    store.put_execution(
        execution,
        [(artifact, event("pushed_model", pb.Event.OUTPUT))],
        context,
        reuse_context_if_already_exist=True,
    )
