"""Bulk inference: labels a file or a folder of texts with the model in service, into a CSV or Parquet table."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata as tfx_metadata

from bert_pipeline.components import labelled_table
from bert_pipeline.components.bulk_inferrer import ProgressBulkInferrer
from bert_pipeline.components.example_gen import read_csv, read_parquet, unlabelled_example_gen
from bert_pipeline.components.labelled_table import LabelledTable
from bert_pipeline.components.served_model_resolver import ServedModelStrategy
from bert_pipeline.data import table_files
from bert_pipeline.metadata import database
from bert_pipeline.pipeline import UNLABELLED
from bert_pipeline.running.local_runner import NodeResult, run_components
from bert_pipeline.running.summary import outputs
from bert_pipeline.serving_folder import unfinished
from bert_pipeline.serving_folder.atomic_push import newest_version
from bert_pipeline.serving_folder.served import ServedVersion, model_of_version, served_versions
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import in_use
from bert_pipeline.settings.requests import GraphRequest
from bert_pipeline.settings.whole_file import whole


def labelling_components(
    *, folder: Path, pattern: str, file_format: str, push_destination: Path
) -> list[BaseNode]:
    """Every component of `label`, in order.

    Args:
        folder: of the files.
        pattern: of their names.
        file_format: of the table: csv or parquet.
        push_destination: the served folder.
    """
    served = tfx.dsl.Resolver(
        strategy_class=ServedModelStrategy,
        config={"push_destination": str(push_destination)},
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        pushed_model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("ServedModel")
    example_gen = unlabelled_example_gen(
        data_dir=folder, split=UNLABELLED, pattern=pattern, data_format="csv"
    ).with_id("TextsToLabel")
    inferrer = ProgressBulkInferrer(
        examples=example_gen.outputs["examples"],
        model=served.outputs["model"],
        model_blessing=served.outputs["model_blessing"],
        data_spec=tfx.proto.DataSpec(example_splits=[UNLABELLED]),
        model_spec=tfx.proto.ModelSpec(model_signature_name=["serve_examples"]),
    ).with_id("Labeller")
    table = LabelledTable(
        inference_result=inferrer.outputs["inference_result"], file_format=file_format
    ).with_id("LabelledTable")
    return [served, example_gen, inferrer, table]


_SUFFIXES = (".csv", ".parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(GraphRequest):
    """Arguments of `label`."""

    texts: str
    """A .csv or .parquet file, or a folder of them."""

    to: str
    """The table to write."""


def run(request: Request) -> int:
    """The verb `label`: `--task --out --texts --to --metadata`.

    Returns:
        0.

    Raises:
        UserError: nothing is in service, or the texts or the table cannot be used.
    """
    loaded, paths = request.load(), request.paths
    target = Path(request.to).resolve()
    if target.suffix.lower() not in _SUFFIXES or not target.parent.is_dir():
        raise UserError(
            f"{typed.name('to')} is {request.to!r}; give a file in an existing folder, named .csv or .parquet"
        )
    folder, pattern = find_texts(Path(request.texts), columns=loaded.task.data.text)
    version = newest_version(paths.push_destination)
    if version is None or (not paths.metadata.exists() and not request.metadata):
        raise UserError(
            f"no model was blessed and pushed to {paths.push_destination} yet; {typed.command('pipeline')} first"
        )
    _check_target(target, texts=sorted(folder.glob(pattern)))
    file_format = target.suffix[1:].lower()
    connection = database.connection_config(request.metadata, sqlite_path=paths.metadata)
    with in_use(paths):
        store = database.open_store(connection)
        unfinished.settle_if_free(store, paths)
        _check_blessed(store, served_versions(paths.push_destination)[-1])
        print(f"task {loaded.task.name}: labelling {folder / pattern} with version {version}", flush=True)
        results = run_components(
            labelling_components(
                folder=folder,
                pattern=pattern,
                file_format=file_format,
                push_destination=paths.push_destination,
            ),
            task_name=loaded.task.name,
            paths=paths,
            connection=connection,
            on_end=lambda result: print(result.line, flush=True),
        )
        with tfx_metadata.Metadata(connection) as handle:
            texts = sorted(folder.glob(pattern), key=lambda path: path.name)
            num_rows = _take(handle, results[-1], texts=texts, target=target, file_format=file_format)
    print(f"labelled  {num_rows:,} texts -> {target}")
    return 0


def _check_target(target: Path, *, texts: Sequence[Path]) -> None:
    """Raises if the table would overwrite a file that `label` did not write, such as the texts or own labels."""
    if not target.exists():
        return
    if any(target.samefile(path) for path in texts):
        raise UserError(f"{typed.name('to')}: {target} holds the texts themselves; give another file")
    try:
        columns = _header(target) if target.stat().st_size else [labelled_table.PREDICTED_LABEL]
    except (UserError, pa.ArrowException):
        columns = []
    if labelled_table.PREDICTED_LABEL not in columns:
        raise UserError(
            f"{typed.name('to')}: {target} is there and was not written by this command; give another file, or move it "
            "away"
        )


def _check_blessed(store: MetadataStore, version: ServedVersion) -> None:
    model = model_of_version(store, version)
    if model is None:
        raise UserError(
            f"version {version.version}, which is in service, was not pushed by a run that ML Metadata knows; "
            f"{typed.command('pipeline')} first, or give {typed.give('out')} or {typed.give('metadata')} of the run"
        )
    blessings = [
        b
        for b in store.get_artifacts_by_type("ModelBlessing")
        if b.state in (pb.Artifact.LIVE, pb.Artifact.UNKNOWN)
        and b.custom_properties["current_model_id"].int_value == model
        and b.custom_properties["blessed"].int_value == 1
    ]
    if not blessings:
        raise UserError(
            f"no evaluation in ML Metadata blessed version {version.version}, which is in service, so nothing was "
            f"labelled; {typed.command('pipeline')} again"
        )


def _take(
    handle: tfx_metadata.Metadata,
    result: NodeResult,
    *,
    texts: Sequence[Path],
    target: Path,
    file_format: str,
) -> int:
    """Copies the table to its target atomically; returns the number of rows.

    From Parquet to Parquet, input columns keep their types: they are read from the files again.
    """
    table = outputs(handle.store, result)["table"]
    num_rows = table.custom_properties[labelled_table.NUM_ROWS].int_value
    if not num_rows:
        raise UserError(
            "no evaluation in ML Metadata blessed the model in service, so nothing was labelled; "
            f"{typed.command('pipeline')} again"
        )
    source = labelled_table.table_path(table.uri, file_format)
    try:
        with whole(target) as partial:
            if file_format == "parquet" and all(map(table_files.is_parquet, texts)):
                pq.write_table(with_types(pq.read_table(source), texts=texts), partial)
            else:
                shutil.copyfile(source, partial)
    except OSError as error:
        raise UserError(
            f"{typed.name('to')}: {target} could not be written: {error.strerror}; the labelled texts are in {source}"
        ) from error
    return num_rows


def find_texts(path: Path, *, columns: tuple[str, ...]) -> tuple[Path, str]:
    """The folder and the pattern of the tables to label.

    Args:
        path: a .csv or .parquet file, or a folder of files of one of these kinds.
        columns: text columns that every table must have.

    Returns:
        Absolute folder, and the pattern of the names in it.

    Raises:
        UserError: nothing to label, two kinds at once, or a table without a text column.
    """
    path = path.resolve()
    table_files.check_name(path, key=typed.name("texts"))
    if path.is_dir():
        found = sorted({p.suffix for p in path.iterdir() if p.suffix.lower() in _SUFFIXES})
        if len(found) != 1:
            what = f"{' and '.join(found)} files" if found else "neither .csv nor .parquet files"
            raise UserError(
                f"{typed.name('texts')}: {path} holds {what}; give a folder of one kind, or a file"
            )
        folder, pattern = path, f"*{found[0]}"
    elif path.is_file() and path.suffix.lower() in _SUFFIXES:
        folder, pattern = path.parent, path.name
    else:
        raise UserError(f"{typed.name('texts')}: {path} is no .csv or .parquet file and no folder of them")
    for table in sorted(folder.glob(pattern)):
        _check_columns(table, columns=columns)
    return folder, pattern


def with_types(labelled: pa.Table, *, texts: Sequence[Path]) -> pa.Table:
    """The columns of Parquet files with their original types, followed by the added columns.

    Args:
        labelled: one row per row of the files, in order; all columns of the files are strings.
        texts: the files, in the table's order.

    Raises:
        UserError: a file has changed since.
    """
    tables = [pq.read_table(path) for path in texts]
    source = pa.concat_tables([table.cast(pa.unify_schemas([t.schema for t in tables])) for table in tables])
    if source.num_rows != labelled.num_rows:
        raise UserError(
            f"{typed.name('texts')}: {texts[0].parent} has {source.num_rows:,} rows now, and {labelled.num_rows:,} "
            "were labelled; the same command labels them again"
        )
    added = [name for name in labelled.column_names if name not in source.column_names]
    first = [name for name in added if name == labelled_table.SOURCE_COLUMN]
    columns = {name: labelled[name] for name in first}
    columns |= {name: source[name] for name in source.column_names}
    return pa.table(columns | {name: labelled[name] for name in added})


def _header(table: Path) -> list[str]:
    """Columns of a table; none if it has no rows."""
    reader = read_parquet if table_files.is_parquet(table) else read_csv
    return list(next(reader(str(table)), {}))


def _check_columns(table: Path, *, columns: tuple[str, ...]) -> None:
    header = _header(table)
    if not header:
        raise UserError(f"{table} has no row to label")
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(
            f"{table} has no column {missing[0]!r} (it has {', '.join(header)}); the model reads "
            f"{', '.join(columns)}: rename the column"
        )
