"""The verb `rollback`: puts an earlier version into service under a new number, without training.

A server serves the highest number, so the old version's files are copied to a new one by the usual atomic push.
Then the replaced model is added to the list of withdrawn models, so the next run, which finds it in its cache,
does not push it again.
"""

from __future__ import annotations

import dataclasses
import time

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.history.task_store import task_store
from bert_pipeline.serving_folder import atomic_push, push_record, served, unfinished
from bert_pipeline.serving_folder.served import (
    COPY_OF,
    MODEL_ARTIFACT,
    PIPELINE_RUN,
    REASON,
    ROLLBACK_EXECUTION,
    ServedVersion,
    model_of_version,
    served_versions,
)
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths, exclusive
from bert_pipeline.settings.requests import PastRequest

_SAVED_MODEL = "saved_model.pb"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The current and the target version."""

    current: ServedVersion
    target: ServedVersion
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PastRequest):
    """Arguments of `rollback`."""

    to: str
    """A version; empty for the previous one."""

    reason: str


def run(request: Request) -> int:
    """Rolls back and prints the result; returns 0.

    Raises:
        UserError: there is no version to roll back to; nothing was changed.
    """
    store, paths = task_store(request)
    with exclusive(paths):
        unfinished.settle(store, paths)
        plan = make_plan(served_versions(paths.push_destination), to=request.to, reason=request.reason)
        try:
            version = roll_back(store, paths, plan)
        except OSError as error:
            in_service = atomic_push.newest_version(paths.push_destination)
            raise UserError(
                f"the copy failed: {error}; version {in_service} stays in service"
                if in_service == plan.current.version
                else f"the copy is in service as version {in_service}, but was not recorded: {error}; give the "
                "command again when there is room, and it will be"
            ) from error
    print(f"rolled back: version {version} is in service, a copy of {plan.target.version}")
    print(f"  instead of  version {plan.current.version}")
    print(f"  reason      {plan.reason}")
    print(f"  model       {paths.push_destination / str(version)}")
    return 0


def make_plan(versions: list[ServedVersion], *, to: str, reason: str) -> Plan:
    """Plans a rollback.

    Args:
        versions: of the served folder, lowest first.
        to: the target version; empty for the previous one that was not rolled back from. If a rollback made the
            version in service, a second rollback continues from its original.
        reason: for the record.

    Raises:
        UserError: no such version, or it is already in service.
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
        listed = served.withdrawn(current.folder.parent)
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
    """Executes the plan and records it as an execution, also on failure.

    The copy comes first and names its execution; after a kill, `unfinished.py` completes the rest from these two.

    Returns:
        The new version.
    """
    model = model_of_version(store, plan.target)
    execution = _begin(store, plan)
    inputs = (
        [(a, push_record.event("model", pb.Event.INPUT)) for a in store.get_artifacts_by_id([model])]
        if model
        else []
    )
    contexts = push_record.contexts(store, paths.task_name, node=push_record.ROLLBACK)
    ids = store.put_execution(execution, inputs, contexts, reuse_context_if_already_exist=True)
    (execution,) = store.get_executions_by_id([ids[0]])
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    try:
        version = atomic_push.push(
            plan.target.folder,
            base_dir=paths.push_destination,
            provenance=_provenance(plan, when=when, execution_id=execution.id),
        )
    except BaseException:
        execution.last_known_state = pb.Execution.FAILED
        store.put_executions([execution])
        raise
    push_record.finish_rollback(store, paths, execution, version=version)
    return version


def _begin(store: MetadataStore, plan: Plan) -> pb.Execution:
    execution = pb.Execution(
        type_id=store.put_execution_type(pb.ExecutionType(name=f"{__name__}.{push_record.ROLLBACK}")),
        last_known_state=pb.Execution.RUNNING,
    )
    goes_back = _origin(plan.target) < _origin(plan.current)
    for key, value in (
        (push_record.REASON, plan.reason),
        ("from_version", str(plan.current.version)),
        (push_record.TO_VERSION, str(plan.target.version)),
        (push_record.WITHDRAWS, atomic_push.fingerprint(plan.current.folder) if goes_back else ""),
        (push_record.WITHDRAWN_AS, str(_origin(plan.current))),
    ):
        execution.custom_properties[key].string_value = value
    return execution


def _provenance(plan: Plan, *, when: str, execution_id: int) -> dict[str, str]:
    kept = {
        key: plan.target.provenance[key]
        for key in (MODEL_ARTIFACT, PIPELINE_RUN)
        if key in plan.target.provenance
    }
    return {
        "pushed": when,
        **kept,
        COPY_OF: str(_origin(plan.target)),
        REASON: plan.reason,
        ROLLBACK_EXECUTION: str(execution_id),
    }


def _origin(version: ServedVersion) -> int:
    """The original version, pushed by a run, of a copy or of a copy of a copy."""
    return int(version.provenance.get(COPY_OF, version.version))
