"""ExampleGen for text tables: CSV or Parquet with every column kept as bytes.

TFX's own CsvExampleGen infers a type per column, so that a text column of numbers turns into
integers in one span and stays text in the next, and it stops at bytes that are not UTF-8 without
naming the row. This one turns every cell into a bytes feature, an empty cell into a missing value, and
leaves invalid text to ExampleValidator, which can locate it. FileBasedExampleGen provides splits, hash
buckets, spans and versions.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import struct_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, proto_utils

from bert_pipeline.data import table_files
from bert_pipeline.settings.errors import UserError


def to_example(row: Mapping[str, bytes], *, key: str = "", fill: bool = False) -> tf.train.Example:
    """One row as a tf.Example; an empty cell is a feature without a value.

    Example: {"text": b"good", "label": b""} -> text: bytes_list ["good"], label: bytes_list [].

    Args:
        row: cells by column.
        key: the column whose hash decides the split; an empty cell becomes an empty list, which TFX can hash.
        fill: whether an empty cell becomes an empty text, which the model answers, as the server does.
    """
    example = tf.train.Example()
    for name, cell in row.items():
        values = example.features.feature[name].bytes_list.value
        if cell or fill:
            values.append(cell)
        elif name == key:
            example.features.feature[name].bytes_list.SetInParent()
    return example


def read_records(examples: types.Artifact, split: str) -> Iterator[bytes]:
    """The serialized tf.Examples of one split of an Examples artifact, in the same order each time."""
    uri = artifact_utils.get_split_uri([examples], split)
    paths = sorted(tf.io.gfile.glob(io_utils.all_files_pattern(uri)))
    return tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator()


def read_examples(examples: types.Artifact, split: str) -> Iterator[tf.train.Example]:
    """The tf.Examples of one split of an Examples artifact."""
    return map(tf.train.Example.FromString, read_records(examples, split))


def read_csv(path: str, *, columns: Collection[str] = ()) -> Iterator[dict[str, bytes]]:
    """Rows of one CSV file; see `table_files.rows_of_csv`."""
    with fileio.open(path, "rb") as file:
        raw = file.read()
    return table_files.rows_of_csv(raw, path=path, columns=columns)


def read_parquet(path: str, *, columns: Collection[str] = ()) -> Iterator[dict[str, bytes]]:
    """Rows of one Parquet file; see `table_files.rows_of_parquet`."""
    with fileio.open(path, "rb") as file:
        table_files.check_beginning(path, file.read(64))
    return table_files.rows_of_parquet(path, path=path, columns=columns)


# Position of a row and order of its columns, to restore the original table: Beam does not keep the order of rows, nor
# a tf.Example that of columns.
SOURCE_FILE, SOURCE_ROW, SOURCE_COLUMNS = "__source_file__", "__source_row__", "__source_columns__"
COLUMN_SEPARATOR = b"\x1f"


def _number(path: str, rows: Iterator[dict[str, bytes]]) -> Iterator[dict[str, bytes]]:
    """Adds SOURCE_FILE (its name) and SOURCE_ROW (from 0) to each row, and SOURCE_COLUMNS to the first one.

    Raises:
        UserError: the table has a column of one of these names.
    """
    for number, row in enumerate(rows):
        place = {SOURCE_FILE: os.path.basename(path).encode(), SOURCE_ROW: b"%d" % number}
        if number == 0:
            place[SOURCE_COLUMNS] = COLUMN_SEPARATOR.join(name.encode() for name in row)
        if taken := place.keys() & row.keys():
            raise UserError(f"{path}: a column is called {min(taken)}, which is taken; rename it")
        yield {**row, **place}


def _write_columns(columns: Collection[str]) -> example_gen_pb2.CustomConfig:
    """TFX's parameter for the configuration of a custom ExampleGen."""
    config, fields = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    fields.update({"columns": sorted(columns)})
    config.custom_config.Pack(fields)
    return config


def _read_columns(text: str | None) -> frozenset[str]:
    """The columns from an execution, as written by `_write_columns`."""
    fields = struct_pb2.Struct()
    if text:
        proto_utils.json_to_proto(text, example_gen_pb2.CustomConfig()).custom_config.Unpack(fields)
    return frozenset(fields.get_or_create_list("columns"))


@beam.typehints.with_output_types(tf.train.Example)
class _ReadTable(beam.PTransform):
    """Files of a pattern -> tf.Examples; the transform that BaseExampleGenExecutor expects."""

    numbered = False

    def __init__(self, exec_properties: dict[str, Any], split_pattern: str) -> None:
        super().__init__()
        self._pattern = os.path.join(exec_properties["input_base"], split_pattern)
        output = proto_utils.json_to_proto(exec_properties["output_config"], example_gen_pb2.Output())
        self._key = output.split_config.partition_feature_name
        self._columns = _read_columns(exec_properties.get("custom_config"))

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        paths = sorted(fileio.glob(self._pattern))
        if not paths:
            raise UserError(f"data.files: no file matches {self._pattern}")
        return (
            pipeline
            | beam.Create(paths)
            | beam.FlatMap(_read_table, numbered=self.numbered, columns=self._columns)
            | beam.Map(to_example, key=self._key, fill=self.numbered)
        )


def _read_table(path: str, *, numbered: bool, columns: Collection[str] = ()) -> Iterator[dict[str, bytes]]:
    read = read_parquet if table_files.is_parquet(path) else read_csv
    rows = read(path, columns=columns)
    return _number(path, rows) if numbered else rows


class _ReadNumberedTable(_ReadTable):
    """The same, with SOURCE_FILE and SOURCE_ROW."""

    numbered = True


class TableExecutor(BaseExampleGenExecutor):
    """Writes the rows of CSV or Parquet files as tf.Examples of bytes features."""

    def GetInputSourceToExamplePTransform(self) -> type[beam.PTransform]:
        """TFX's hook: the transform that reads one split."""
        return _ReadTable


class NumberedTableExecutor(TableExecutor):
    """The same, with SOURCE_FILE and SOURCE_ROW in each example."""

    def GetInputSourceToExamplePTransform(self) -> type[beam.PTransform]:
        """TFX's hook: the transform that reads one split."""
        return _ReadNumberedTable


def unlabelled_example_gen(
    *, data_dir: Path, split: str, pattern: str, data_format: str
) -> FileBasedExampleGen:
    """The ExampleGen of texts to label: one split, and each row keeps its position.

    Args:
        data_dir: folder of the files.
        split: name of the split.
        pattern: of the files under `data_dir`.
        data_format: csv, parquet or tfrecord; tfrecord records have no original order.
    """
    if data_format == "tfrecord":
        return text_example_gen(
            data_dir=data_dir,
            files={split: pattern},
            data_format=data_format,
            hash_buckets={split: 1},
            span=0,
        )
    proto = tfx.proto
    splits = [proto.SplitConfig.Split(name=split, hash_buckets=1)]
    return FileBasedExampleGen(
        input_base=str(data_dir),
        input_config=proto.Input(splits=[proto.Input.Split(name=split, pattern=pattern)]),
        output_config=proto.Output(split_config=proto.SplitConfig(splits=splits)),
        custom_executor_spec=executor_spec.BeamExecutorSpec(NumberedTableExecutor),
    )


def text_example_gen(
    *,
    data_dir: Path,
    files: Mapping[str, str],
    data_format: str,
    hash_buckets: Mapping[str, int],
    span: int,
    key: str = "",
    columns: Collection[str] = (),
) -> FileBasedExampleGen:
    """The ExampleGen of a task.

    Args:
        data_dir: folder of the data.
        files: split to pattern; a single pattern is split by hash, several are used as given.
        data_format: csv, parquet or tfrecord.
        hash_buckets: buckets of each split, if `files` has a single pattern.
        key: column whose hash decides the split of a row, so copies of a text stay together; empty for all columns.
            (Records of tfrecord are hashed whole: TFX refuses one that lacks the column.)
        columns: to read; empty for all. (tfrecord always reads all.)
        span: number of the span (days since 1970-01-01 if spans are dates); 0 if the patterns have none.
    """
    proto = tfx.proto
    input_config = proto.Input(
        splits=[proto.Input.Split(name=name, pattern=pattern) for name, pattern in files.items()]
    )
    output_config = None
    if len(files) == 1:  # without buckets TFX would split it 2:1
        splits = [proto.SplitConfig.Split(name=name, hash_buckets=n) for name, n in hash_buckets.items()]
        by_key = {"partition_feature_name": key} if key and data_format != "tfrecord" else {}
        output_config = proto.Output(split_config=proto.SplitConfig(splits=splits, **by_key))
    range_config = None
    if span:
        static = range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
        range_config = range_config_pb2.RangeConfig(static_range=static)
    arguments: dict[str, Any] = {
        "input_base": str(data_dir),
        "input_config": input_config,
        "output_config": output_config,
        "range_config": range_config,
    }
    if data_format == "tfrecord":
        return tfx.components.ImportExampleGen(**arguments)
    return FileBasedExampleGen(
        custom_executor_spec=executor_spec.BeamExecutorSpec(TableExecutor),
        custom_config=_write_columns(columns) if columns else None,
        **arguments,
    )
