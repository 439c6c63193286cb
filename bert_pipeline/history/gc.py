"""The verb `gc`: lists unreferenced artifacts, versions and leftovers, and removes them with --yes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.history.lineage import BASE_MODEL, last_evaluator
from bert_pipeline.history.task_store import task_store
from bert_pipeline.metadata.run_history import Artifact, Execution, History, Run, flat, read_history
from bert_pipeline.serving_folder import atomic_push, unfinished
from bert_pipeline.serving_folder.served import ServedVersion, model_of_version, served_versions
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths, exclusive, not_in_use
from bert_pipeline.settings.requests import PastRequest

_BASELINE = "baseline_model"
_BLESSED = "blessed"  # TFX's property of the Evaluator's and the InfraValidator's blessings
_WHEELS, _SYSTEM = "_wheels", ".system"  # TFX's folders beside the artifacts
_DATA = ("Examples", "ExampleStatistics", "TransformGraph")
# States of artifacts that have files.
_PRESENT = ("LIVE", "MARKED_FOR_DELETION")


@dataclasses.dataclass(frozen=True)
class Rubbish:
    """One folder or file that can be removed."""

    path: Path
    what: str
    """Description: `Model 9 (Trainer, run 1)`."""
    num_bytes: int
    artifact: int | None = None
    """Id in ML Metadata; None if not an artifact."""
    version: int | None = None
    """Its number, for a version in the served folder."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """Artifacts and versions to keep."""

    artifacts: frozenset[int]
    versions: Mapping[int, str]
    """Version to reason."""


def what_to_keep(
    history: History, versions: Sequence[ServedVersion], models: Mapping[int, int | None], *, keep: int
) -> Kept:
    """Decides what to keep.

    Args:
        history: of the task.
        versions: of the served folder, lowest first.
        models: the Model's id of each version; None if ML Metadata does not know it.
        keep: number of newest versions to keep.

    Raises:
        UserError: the model in service is not in ML Metadata, so its dependencies are unknown.
    """
    if not versions:
        return Kept(frozenset(history.artifacts), {})  # nothing is in service: remove only leftovers
    in_service = versions[-1].version
    model = models[in_service]
    if model is None:
        raise UserError(
            f"ML Metadata does not know the model of version {in_service}, which is in service, and so not what it "
            f"needs; nothing is removed (was it put there by hand, or by a run with another {typed.name('out')} or "
            f"{typed.name('metadata')}?)"
        )
    baselines = _baselines(history, model)
    newest_of = {models[v.version]: v.version for v in versions}
    unknown = [v.version for v in versions if models[v.version] is None]
    kept = {v.version: f"one of the newest {keep}" for v in versions[-keep:]}
    kept |= {newest_of[m]: "its baseline" for m in baselines if m in newest_of}
    kept |= dict.fromkeys(unknown, "not pushed by a run that is known here")
    kept[in_service] = "in service"
    needed = {m for v, m in models.items() if v in kept and m is not None} | baselines
    return Kept(frozenset(_artifacts_of(history, needed, in_service=model)), kept)


def _artifacts_of(history: History, models: Collection[int], *, in_service: int) -> set[int]:
    """Artifacts that the kept models and the next run need."""
    runs = [*history.runs[-1:], *_runs_of(history, in_service)[-1:]]
    newest = {e.node: e for e in history.executions.values() if e.state in ("COMPLETE", "CACHED")}
    kept = {a for model in models for a in _made_from(history, model)}
    kept |= {a for run in runs for i in run.executions for a in _all_of(history.executions[i])}
    kept |= {a for execution in newest.values() for a in flat(execution.outputs)}
    # Statistics of kept examples: the next span is compared with them, and they are small.
    kept |= {
        a
        for e in history.executions.values()
        if e.node == "StatisticsGen" and flat(e.inputs) <= kept
        for a in flat(e.outputs)
    }
    # For a span used only for comparison, keep the examples too: without them its statistics are recomputed.
    data = [a for a in kept if history.artifacts[a].type in _DATA]
    kept |= {ancestor for a in data for ancestor in history.ancestors(a)}
    return kept | {a for model in models for a in _judged(history, model)}


def _judged(history: History, model: int) -> Iterator[int]:
    """Records that allow a model in service: its pushes, their inputs, and the evaluations that blessed it.

    A later run may have evaluated and refused the same model. That evaluation is kept too: `monitor` compares
    with the last one.
    """
    if (last := last_evaluator(history, model)) is not None:
        yield from flat(last.outputs)
    for execution in history.consumers(model):
        if model not in execution.inputs.get("model", ()):
            continue
        outputs = execution.outputs
        if "pushed_model" in outputs:
            yield from _all_of(execution)
        if any(history.artifacts[a].properties.get(_BLESSED) == 1 for a in outputs.get("blessing", ())):
            yield from flat(outputs)


def _baselines(history: History, model: int) -> set[int]:
    """The baseline of a model's last evaluation."""
    evaluations = [
        e for e in history.consumers(model) if model in e.inputs.get("model", ()) and _BASELINE in e.inputs
    ]
    return set(evaluations[-1].inputs[_BASELINE]) if evaluations else set()


def _made_from(history: History, model: int) -> set[int]:
    """A model, its ancestors and their sibling outputs: a cached component needs all its outputs."""
    found = history.ancestors(model, stop=frozenset({BASE_MODEL}))
    for artifact_id in sorted(found):
        producer = history.producer(artifact_id)
        if producer and flat(producer.inputs) <= found:
            found |= flat(producer.outputs)
    return found


def _runs_of(history: History, model: int) -> list[Run]:
    """The runs that trained a model or found it in the cache."""
    made = {e.id for e in history.executions.values() if model in flat(e.outputs)}
    return [run for run in history.runs if made.intersection(run.executions)]


def _all_of(execution: Execution) -> set[int]:
    return flat(execution.inputs) | flat(execution.outputs)


def find_rubbish(
    history: History, paths: RunPaths, versions: Sequence[ServedVersion], kept: Kept
) -> list[Rubbish]:
    """Returns everything that can be removed, largest first; only reads sizes.

    Raises:
        UserError: the artifacts are recorded under another folder, so files here would look like leftovers.
    """
    elsewhere = [a for a in history.of_type("Model") if not _inside(paths, Path(a.uri))]
    if elsewhere:
        raise UserError(
            f"ML Metadata has models outside {paths.pipeline_root}, such as {elsewhere[0].uri}: the output folder "
            "was moved or copied, or is shared with another one; nothing is removed"
        )
    found = [
        *_old_artifacts(history, paths, kept),
        *(
            Rubbish(v.folder, f"version {v.version}", size(v.folder), version=v.version)
            for v in versions
            if kept.versions and v.version not in kept.versions
        ),
        *_leftovers(history, paths),
    ]
    return sorted(found, key=lambda rubbish: (-rubbish.num_bytes, str(rubbish.path)))


def _old_artifacts(history: History, paths: RunPaths, kept: Kept) -> Iterator[Rubbish]:
    stays = {history.artifacts[i].uri for i in kept.artifacts}
    for artifact in history.artifacts.values():
        path = Path(artifact.uri)
        if (
            artifact.id in kept.artifacts
            or artifact.uri in stays
            or artifact.state not in _PRESENT
            or not _inside(paths, path)
        ):
            continue
        yield Rubbish(path, _what(history, artifact), size(path), artifact=artifact.id)


def _inside(paths: RunPaths, path: Path) -> bool:
    root = paths.pipeline_root
    return path.is_relative_to(root) and path != root and ".." not in path.parts


def _what(history: History, artifact: Artifact) -> str:
    producer = history.producer(artifact.id)
    run = history.run_of(producer.id) if producer else None
    by = f" ({producer.node}{f', run {run.number}' if run else ''})" if producer else ""
    return f"{artifact.type} {artifact.id}{by}"


def _leftovers(history: History, paths: RunPaths) -> Iterator[Rubbish]:
    """Folders of unrecorded executions, working files, and wheels of older code.

    The caller holds the task's lock, so no other run writes to them.
    """
    known = {Path(a.uri) for a in history.artifacts.values() if a.state in _PRESENT}
    known |= {
        path.parent for path in known
    }  # of several outputs under one key, each has a folder in it: 28/0, 28/1
    nodes = {execution.node for execution in history.executions.values()}  # other folders belong to the user
    for path in sorted(paths.pipeline_root.glob("*/*/*")):
        is_output = path.name.isdecimal() and path.parent.name != _SYSTEM and path.parent.parent.name in nodes
        if is_output and path not in known:
            yield Rubbish(path, "left by an execution that did not finish", size(path))
    for path in sorted(paths.pipeline_root.glob(f"*/{_SYSTEM}")):
        if path.parent.name in nodes and size(path):
            yield Rubbish(path, "working files of executions", size(path))
    last = [history.executions[i] for run in history.runs[-1:] for i in run.executions]
    used = [str(execution.properties.get("module_path", "")) for execution in last]
    for path in sorted((paths.pipeline_root / _WHEELS).glob("*.whl")):  # each run builds its own
        if not any(path.name in module_path for module_path in used):
            yield Rubbish(path, "wheel of older user code", size(path))


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; 0 if it does not exist."""
    if path.is_dir():
        return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())
    return path.lstat().st_size if path.exists() else 0


_MEGABYTE = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PastRequest):
    """Arguments of `gc`."""

    keep: int
    """Number of newest versions to keep."""

    yes: bool
    """Whether to remove the rest."""


def run(request: Request) -> int:
    """Lists, and removes with `--yes`; returns 0.

    Raises:
        UserError: another run is in progress, or the model in service is not known.
    """
    store, paths = task_store(request)
    with exclusive(paths):
        unfinished.settle(store, paths)
        with not_in_use(paths) as nothing_runs:
            if not nothing_runs:
                raise UserError(
                    f"a label, monitor or report of task {paths.task_name} is at work, and gc would remove what it "
                    "writes or reads; wait for it"
                )
            _collect(store, paths, keep=request.keep, is_dry_run=not request.yes)
    return 0


def _collect(store: MetadataStore, paths: RunPaths, *, keep: int, is_dry_run: bool) -> None:
    history = read_history(store, task=paths.task_name)
    versions = served_versions(paths.push_destination)
    models = {v.version: model_of_version(store, v) for v in versions}
    kept = what_to_keep(history, versions, models, keep=keep)
    found = find_rubbish(history, paths, versions, kept)
    _print(found, kept, paths, is_dry_run=is_dry_run)
    if found and not is_dry_run:
        before = size(paths.root)
        remove(store, found, paths)
        print(f"removed {(before - size(paths.root)) / _MEGABYTE:.1f} MB; ML Metadata has it as DELETED")


def _print(found: Sequence[Rubbish], kept: Kept, paths: RunPaths, *, is_dry_run: bool) -> None:
    for rubbish in found:
        where = rubbish.path.relative_to(paths.root)
        print(f"  {rubbish.num_bytes / _MEGABYTE:>9.1f} MB  {rubbish.what:<44} {where}")
    total = sum(rubbish.num_bytes for rubbish in found) / _MEGABYTE
    num_versions = sum(rubbish.version is not None for rubbish in found)
    print(f"{len(found)} unreferenced items, {num_versions} of them versions: {total:.1f} MB")
    for version, why in sorted(kept.versions.items()):
        print(f"  stays: version {version}, {why}, with all that made it")
    if not kept.versions:
        print("  nothing is in service, so every artifact stays; only leftovers can go")
    if is_dry_run and found:
        print(f"nothing was removed; with {typed.give('yes', None)} it is")


def remove(store: MetadataStore, found: Sequence[Rubbish], paths: RunPaths) -> None:
    """Removes items so that a kill at any point leaves nothing incomplete to a cache or a server.

    First renames all version folders to names that no server reads, so a rollback does not find one without its
    model. Then removes what ML Metadata does not know, which makes room for its writes on a full disk. Marks
    artifacts before removing them, because the cache uses only live ones.
    """
    artifacts = store.get_artifacts_by_id([r.artifact for r in found if r.artifact is not None])
    gone = {str(r.version) for r in found if r.version is not None}
    pushes = [p for p in store.get_artifacts_by_type("PushedModel") if _is_push_of(p, gone, paths)]
    hidden = [atomic_push.hide(r.path) for r in found if r.version is not None]
    _remove([*hidden, *(r.path for r in found if r.version is None and r.artifact is None)])
    doomed = {artifact.id: artifact for artifact in [*artifacts, *pushes]}
    _set_state(store, doomed.values(), pb.Artifact.MARKED_FOR_DELETION)
    _remove([r.path for r in found if r.artifact is not None])
    _set_state(store, doomed.values(), pb.Artifact.DELETED)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_push_of(push: pb.Artifact, versions: set[str], paths: RunPaths) -> bool:
    values = push.custom_properties
    version = values["pushed_version"].string_value
    return version in versions and values["pushed_destination"].string_value == str(
        paths.push_destination / version
    )


def _set_state(store: MetadataStore, artifacts: Iterable[pb.Artifact], state: int) -> None:
    changed = list(artifacts)
    for artifact in changed:
        artifact.state = state
    if changed:
        store.put_artifacts(changed)
