"""LabelledTable: BulkInferrer's PredictionLogs as a CSV or Parquet file; a function component.

An example to copy if a component is one function of artifacts and parameters: TFX reads inputs, outputs and
parameters from the type hints, so this file must not postpone their evaluation (no `from __future__ import
annotations`).
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.types import standard_artifacts

from bert_pipeline.components.example_gen import COLUMN_SEPARATOR, SOURCE_COLUMNS, SOURCE_FILE, SOURCE_ROW
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.whole_file import whole

# Custom property of the table's artifact: number of rows; 0 if the model was not blessed.
NUM_ROWS = "num_rows"
# Column with a row's file, for several input files.
SOURCE_COLUMN = "source_file"
# A column of every table.
PREDICTED_LABEL = "predicted_label"

Row = dict[str, str | float]


class LabelledTexts(tfx.dsl.Artifact):
    """Folder with `labelled.csv` or `labelled.parquet`; empty if the model was not blessed."""

    TYPE_NAME = "LabelledTexts"


@tfx.dsl.components.component
def LabelledTable(
    inference_result: InputArtifact[standard_artifacts.InferenceResult],
    table: OutputArtifact[LabelledTexts],
    file_format: Parameter[str],
) -> None:
    """Writes one row per text, in input order.

    The columns are those of the input, then `predicted_label` and `probability_<label>` for each label; with several
    input files `source_file` comes first.

    Args:
        inference_result: of BulkInferrer over the `serve_examples` signature.
        table: output.
        file_format: `csv` or `parquet`.

    Raises:
        UserError: an input column has the name of an added column.
    """
    paths = tf.io.gfile.glob(os.path.join(inference_result.uri, "prediction_logs*"))
    rows = sorted(_rows(paths), key=_place)
    table.set_int_custom_property(NUM_ROWS, len(rows))
    if rows:
        write_table(_as_they_stood(rows), table.uri, file_format)


def table_path(uri: str, file_format: str) -> Path:
    """The output folder of `LabelledTable`."""
    return Path(uri) / f"labelled.{file_format}"


def _rows(paths: list[str]) -> Iterator[Row]:
    for record in tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
        serialized = log.request.inputs["examples"].string_val
        outputs = {name: tf.make_ndarray(proto) for name, proto in log.response.outputs.items()}
        for i, example in enumerate(serialized):
            yield _row(
                tf.train.Example.FromString(example),
                label=outputs["label"][i, 0],
                shares=dict(zip(outputs["labels"][i], outputs["probabilities"][i], strict=True)),
            )


def _row(example: tf.train.Example, *, label: bytes, shares: dict[bytes, float]) -> Row:
    row: Row = {}
    for name, feature in sorted(example.features.feature.items()):
        row[name] = b" ".join(feature.bytes_list.value).decode("utf-8", "replace")
    answer: Row = {PREDICTED_LABEL: label.decode()}
    answer |= {f"probability_{name.decode()}": float(share) for name, share in shares.items()}
    taken = [name for name in answer if name in row]
    if taken:
        raise UserError(f"the texts have a column {taken[0]!r}, which the labelled table adds; rename it")
    return {**row, **answer}


def _place(row: Row) -> tuple[str, int]:
    return str(row.get(SOURCE_FILE, "")), int(row.get(SOURCE_ROW, 0))


def _as_they_stood(rows: list[Row]) -> list[Row]:
    """Rows with columns in the order of their file, without the source columns."""
    headers = [
        str(row[SOURCE_COLUMNS]).split(COLUMN_SEPARATOR.decode()) for row in rows if SOURCE_COLUMNS in row
    ]
    columns = list(dict.fromkeys(name for header in headers for name in header))
    several_files = len({row.get(SOURCE_FILE) for row in rows}) > 1
    placed = []
    for row in rows:
        first = {SOURCE_COLUMN: row[SOURCE_FILE]} if several_files else {}
        ordered = {name: row[name] for name in columns if name in row}
        rest = {k: v for k, v in row.items() if k not in (SOURCE_FILE, SOURCE_ROW, SOURCE_COLUMNS)}
        placed.append({**first, **ordered, **rest})
    return placed


def write_table(rows: list[Row], folder: str, file_format: str) -> Path:
    """Writes rows to a table, atomically.

    Args:
        rows: at least one; missing cells are empty.
        folder: created if missing.
        file_format: `csv` (RFC 4180, UTF-8) or `parquet`.
    """
    path = table_path(folder, file_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole(path) as partial:
        if file_format == "parquet":
            pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), partial)
            return path
        with open(partial, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return path


def _cell(value: str | float) -> str:
    return f"{value:.6f}" if isinstance(value, float) else value
