"""The verb `rollback`: an earlier version is in service again, under a new number, without any training.

A server serves the highest number, so the old version's files are copied once more, by the same atomic push as
any other. What was in service goes onto the list of withdrawn models, so that the next run, which finds it in its
cache, does not push it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline import typed
from bert_pipeline.components import atomic_push, withdrawn
from bert_pipeline.errors import UserError
from bert_pipeline.history import NODE_TYPE, PIPELINE_TYPE
from bert_pipeline.paths import RunPaths, exclusive
from bert_pipeline.served import (
    COPY_OF,
    MODEL_ARTIFACT,
    PIPELINE_RUN,
    REASON,
    ServedVersion,
    model_of_version,
    served_versions,
)
from bert_pipeline.task_store import task_store

NODE = "Rollback"
_SAVED_MODEL = "saved_model.pb"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is replaced by what."""

    current: ServedVersion
    target: ServedVersion
    reason: str


def main(arguments: argparse.Namespace) -> int:
    """Rolls back and says so; returns 0.

    Args:
        arguments: `to` (a version; empty: the one before), `reason`, and those of `task_store`.

    Raises:
        UserError: there is nothing to go back to; nothing was changed.
    """
    store, paths = task_store(arguments)
    with exclusive(paths):
        plan = make_plan(served_versions(paths.push_destination), to=arguments.to, reason=arguments.reason)
        try:
            version = roll_back(store, paths, plan)
        except OSError as error:
            # shutil.Error holds a list of (source, destination, reason).
            why = error.args[0][0][-1] if isinstance(error, shutil.Error) else error
            raise UserError(
                f"the copy failed: {why}; version {plan.current.version} stays in service"
            ) from error
    print(f"rolled back: version {version} is in service, a copy of {plan.target.version}")
    print(f"  instead of  version {plan.current.version}")
    print(f"  reason      {plan.reason}")
    print(f"  model       {paths.push_destination / str(version)}")
    return 0


def make_plan(versions: list[ServedVersion], *, to: str, reason: str) -> Plan:
    """What a rollback would do.

    Args:
        versions: of the served folder, the lowest first.
        to: the version to go to; empty: the one before, those left out that were rolled back from. What is in
            service may be a copy made by a rollback: a second one then goes on back from its original.
        reason: why, for the record.

    Raises:
        UserError: there is no such version, or it is in service already.
    """
    if not versions:
        raise UserError("no version is in service; there is nothing to roll back from")
    current = versions[-1]
    known = [v.version for v in versions]
    if to:
        if not to.isdecimal() or int(to) not in known:
            raise UserError(f"{typed.name('to')} is {to!r}, and there is no such version; versions: {known}")
        target = versions[known.index(int(to))]
    else:
        origin = _origin(current)
        listed = withdrawn.withdrawn(current.folder.parent)
        before = [
            v for v in versions if v.version < origin and atomic_push.fingerprint(v.folder) not in listed
        ]
        if not before:
            raise UserError(
                f"there is no version before {origin}; versions: {known}; {typed.give('to')} names one to go to"
            )
        target = before[-1]
    if not (target.folder / _SAVED_MODEL).is_file():
        raise UserError(
            f"version {target.version} has no {_SAVED_MODEL} in {target.folder}; name another with {typed.give('to')}"
        )
    if atomic_push.fingerprint(target.folder) == atomic_push.fingerprint(current.folder):
        raise UserError(f"version {current.version} in service is the very model of version {target.version}")
    return Plan(current, target, reason or "not given")


def roll_back(store: MetadataStore, paths: RunPaths, plan: Plan) -> int:
    """Does what was planned and records it as an execution, whatever comes of it.

    Returns:
        The new version.
    """
    base_dir = paths.push_destination
    model = model_of_version(store, plan.target)
    replaced, restored = (atomic_push.fingerprint(v.folder) for v in (plan.current, plan.target))
    goes_back = _origin(plan.target) < _origin(plan.current)
    execution = _begin(store, plan)
    contexts = _contexts(store, paths.task_name)
    inputs = (
        [(a, _event("model", pb.Event.INPUT)) for a in store.get_artifacts_by_id([model])] if model else []
    )
    ids = store.put_execution(execution, inputs, contexts, reuse_context_if_already_exist=True)
    (execution,) = store.get_executions_by_id([ids[0]])
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    try:
        if goes_back:
            withdrawn.withdraw(
                base_dir, fingerprint=replaced, version=_origin(plan.current), when=when, reason=plan.reason
            )
        version = atomic_push.push(
            plan.target.folder, base_dir=base_dir, provenance=_provenance(plan, when=when)
        )
    except BaseException:
        if goes_back:
            withdrawn.reinstate(base_dir, fingerprint=replaced)
        execution.last_known_state = pb.Execution.FAILED
        store.put_executions([execution])
        raise
    withdrawn.reinstate(base_dir, fingerprint=restored)  # somebody may have rolled back from it before
    execution.last_known_state = pb.Execution.COMPLETE
    execution.custom_properties["version"].string_value = str(version)
    pushed = _pushed_model(store, paths, plan, version=version, execution_id=execution.id)
    store.put_execution(
        execution,
        [(pushed, _event("pushed_model", pb.Event.OUTPUT))],
        contexts,
        reuse_context_if_already_exist=True,
    )
    return version


def _begin(store: MetadataStore, plan: Plan) -> pb.Execution:
    execution = pb.Execution(
        type_id=store.put_execution_type(pb.ExecutionType(name=f"{__name__}.{NODE}")),
        last_known_state=pb.Execution.RUNNING,
    )
    for key, value in (
        ("reason", plan.reason),
        ("from_version", str(plan.current.version)),
        ("to_version", str(plan.target.version)),
    ):
        execution.custom_properties[key].string_value = value
    return execution


def _contexts(store: MetadataStore, task: str) -> list[pb.Context]:
    """Of the pipeline and of the node, as TFX names them: resolvers then see the push like any other."""
    return [
        pb.Context(type_id=store.put_context_type(pb.ContextType(name=kind)), name=name)
        for kind, name in ((PIPELINE_TYPE, task), (NODE_TYPE, f"{task}.{NODE}"))
    ]


def _provenance(plan: Plan, *, when: str) -> dict[str, str]:
    kept = {
        key: plan.target.provenance[key]
        for key in (MODEL_ARTIFACT, PIPELINE_RUN)
        if key in plan.target.provenance
    }
    return {"pushed": when, **kept, COPY_OF: str(_origin(plan.target)), REASON: plan.reason}


def _origin(version: ServedVersion) -> int:
    """The version that was pushed by a run: a copy of a copy is a copy of that."""
    return int(version.provenance.get(COPY_OF, version.version))


def _pushed_model(
    store: MetadataStore, paths: RunPaths, plan: Plan, *, version: int, execution_id: int
) -> pb.Artifact:
    """The PushedModel, with the properties that TFX's Pusher and ours give one."""
    destination = paths.push_destination / str(version)
    folder = paths.pipeline_root / NODE / "pushed_model" / str(execution_id)
    folder.mkdir(parents=True, exist_ok=True)
    reason = f"rolled back to version {plan.target.version}: {plan.reason}"
    (Path(folder) / "push.json").write_text(
        json.dumps({"reason": reason, "destination": str(destination)}, indent=2) + "\n", encoding="utf-8"
    )
    artifact = pb.Artifact(
        type_id=store.put_artifact_type(
            pb.ArtifactType(name="PushedModel"), can_add_fields=True, can_omit_fields=True
        ),
        uri=str(folder),
        state=pb.Artifact.LIVE,
    )
    texts = {"pushed_destination": str(destination), "pushed_version": str(version), REASON: reason}
    for key, text in texts.items():
        artifact.custom_properties[key].string_value = text
    for key in ("pushed", "in_service"):
        artifact.custom_properties[key].int_value = 1
    return artifact


def _event(key: str, kind: int) -> pb.Event:
    path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
    return pb.Event(type=kind, path=path)
