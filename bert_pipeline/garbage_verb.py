"""The verb `gc`: lists what nobody needs, and removes it where told to."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline import typed, unfinished
from bert_pipeline.components import atomic_push
from bert_pipeline.errors import UserError
from bert_pipeline.garbage import Kept, Rubbish, find_rubbish, size, what_to_keep
from bert_pipeline.history import read_history
from bert_pipeline.paths import RunPaths, exclusive, not_in_use
from bert_pipeline.served import model_of_version, served_versions
from bert_pipeline.task_store import task_store

_MEGABYTE = 1e6


def main(arguments: argparse.Namespace) -> int:
    """Lists, and removes with `--yes`; returns 0.

    Args:
        arguments: `keep` (how many of the newest versions stay), `yes`, and those of `task_store`.

    Raises:
        UserError: another run is going on, or what is in service is not known.
    """
    store, paths = task_store(arguments)
    with exclusive(paths):
        unfinished.settle(store, paths)
        with not_in_use(paths) as nothing_runs:
            if not nothing_runs:
                raise UserError(
                    f"a label, monitor or report of task {paths.task_name} is at work, and gc would remove what it "
                    "writes or reads; wait for it"
                )
            _collect(store, paths, keep=arguments.keep, is_dry_run=not arguments.yes)
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
    print(f"{len(found)} things that nobody needs, {num_versions} of them versions: {total:.1f} MB")
    for version, why in sorted(kept.versions.items()):
        print(f"  stays: version {version}, {why}, with all that made it")
    if not kept.versions:
        print("  nothing is in service, so every artifact stays; only leftovers can go")
    if is_dry_run and found:
        print(f"nothing was removed; with {typed.give('yes', None)} it is")


def remove(store: MetadataStore, found: Sequence[Rubbish], paths: RunPaths) -> None:
    """Removes things, so that a kill at any point leaves nothing that a cache or a server would take for whole.

    Version folders get a name that no server reads, all of them first: a rollback must not find one whose model is
    gone. Then goes what ML Metadata does not know, so that it has room to write on a disk that was full. Artifacts
    are marked before they go, for the cache takes live ones only.
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
