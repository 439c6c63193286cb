"""Skew check: the ids and probabilities that training saw, against those of the exported model, on any CSV."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from bert_pipeline import config, metadata, metadata_store, spans, typed
from bert_pipeline.errors import UserError
from bert_pipeline.paths import RunPaths, run_paths
from bert_pipeline.skew_check import MAX_PROBABILITY_DIFFERENCE, Artifacts, Skew, run_skew

# A cached execution counts: a setting that is changed back makes an older training the current one again.
_DONE = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


def main(arguments: argparse.Namespace) -> int:
    """The verb `skew`: `--task --data --span --out --metadata --set --csv`.

    Returns:
        0: no skew; 1: there is, and it was told.
    """
    loaded = config.load_task(
        arguments.task, data=arguments.data, span=arguments.span, overrides=arguments.overrides
    )
    paths = run_paths(loaded.task.name, out=arguments.out)
    connection = metadata.connection_config(arguments.metadata, sqlite_path=paths.metadata)
    artifacts = newest_training(metadata_store.open_store(connection, must_exist=True), paths)
    files = [Path(arguments.csv)] if arguments.csv else task_files(loaded)
    print(f"transform graph  {artifacts.transform_graph_dir}\nSavedModel       {artifacts.saved_model_dir}")
    started = time.monotonic()
    skew = run_skew(files, data=loaded.task.data, artifacts=artifacts, progress=_print_progress)
    for line in as_lines(skew):
        print(line)
    print(f"time             {time.monotonic() - started:.1f} s")
    return 1 if skew.found else 0


def _print_progress(num_texts: int) -> None:
    print(f"  {num_texts:,} texts compared", flush=True)


def as_lines(skew: Skew) -> Iterator[str]:
    """The result for people."""
    yield f"texts            {skew.num_texts:,}"
    yield f"token ids        Transform's and the SavedModel's differ in {skew.num_id_differences:,} texts (must be 0)"
    limit = f"(must be under {MAX_PROBABILITY_DIFFERENCE:g})"
    yield f"probabilities    Trainer's model against text in: differ by at most {skew.text_difference:.1e} {limit}"
    yield f"                 against tf.Examples in: differ by at most {skew.example_difference:.1e} {limit}"
    yield from (f"  {sentence}" for sentence in skew.named)
    yield f"verdict          {'SKEW: serving does not compute what was trained' if skew.found else 'no skew'}"


def newest_training(store: MetadataStore, paths: RunPaths) -> Artifacts:
    """Finds the last finished training of a task, and the transform graph that it used.

    Raises:
        UserError: there is none yet.
    """
    uris = _trainer_uris(store)
    if not uris:
        raise UserError(f"no training has finished in {paths.root}; {typed.command('pipeline')} first")
    return Artifacts(
        transform_graph_dir=uris["transform_graph"],
        model_run_dir=uris["model_run"],
        saved_model_dir=str(Path(uris["model"]) / "Format-Serving"),
    )


def _trainer_uris(store: MetadataStore) -> dict[str, str]:
    """Input and output key to uri, of the newest finished execution of the Trainer."""
    executions = [
        execution
        for execution in store.get_executions()
        if execution.last_known_state in _DONE
        and store.get_execution_types_by_id([execution.type_id])[0].name.endswith("Trainer")
    ]
    if not executions:
        return {}
    newest = max(executions, key=lambda execution: execution.id)
    events = store.get_events_by_execution_ids([newest.id])
    uris = {
        artifact.id: artifact.uri for artifact in store.get_artifacts_by_id([e.artifact_id for e in events])
    }
    return {next(step.key for step in e.path.steps if step.key): uris[e.artifact_id] for e in events}


def task_files(loaded: config.LoadedTask) -> list[Path]:
    """The labelled files of a task; of all spans where the pattern names spans."""
    patterns = [spans.as_glob(pattern) for pattern in loaded.task.data.files.values()]
    paths = sorted(path for pattern in patterns for path in loaded.data_dir.glob(pattern))
    if loaded.task.data.format == "tfrecord" or not paths:
        raise UserError(
            f"data.files: no table in {loaded.data_dir} to compare on; give one with {typed.give('csv')}"
        )
    return paths
