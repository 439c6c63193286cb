"""A table of thousands of columns: those that the task or its schema names are read, and the rest is said."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from bert_pipeline import pipeline
from bert_pipeline.components import example_gen
from bert_pipeline.data import wide_tables
from bert_pipeline.new_task import roles
from bert_pipeline.new_task.tables import Table
from bert_pipeline.settings import config
from bert_pipeline.settings.config import LoadedTask

TASK = """
name = "wide"
description = "wide"
[data]
path = "data"
text = ["text"]
label = "label"
labels = ["a", "b"]
files = {files}
{more}
[validation]
drift_note = {{ region = 0.1, text_num_tokens = 0.1 }}
[evaluation]
slices = ["shop", "shop+channel"]
[[evaluation.gates]]
metric = "accuracy"
slice = "shop=x"
min = 0.1
"""
SCHEMA = 'feature { name: "age" type: BYTES } feature { name: "text" type: BYTES }'
NAMED = ["text", "label", "shop", "channel", "region"]


def header(num_others: int) -> list[str]:
    return [*NAMED, "age", *(f"c{i}" for i in range(num_others))]


def write_csv(path: Path, columns: list[str], *, rows: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[f"{name} {i}" for name in columns] for i in range(rows)])


def load(
    tmp_path: Path, *, files: str = '{ all = "rows.csv" }', more: str = "", schema: str = ""
) -> LoadedTask:
    (tmp_path / "wide.toml").write_text(TASK.format(files=files, more=more))
    if schema:
        (tmp_path / "wide.schema.pbtxt").write_text(schema)
    (tmp_path / "data").mkdir(exist_ok=True)
    return config.load_task(str(tmp_path / "wide.toml"), data=str(tmp_path / "data"))


def test_two_thousand_columns_that_nothing_names_are_not_read_and_said(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "rows.csv", header(2000))
    choice = wide_tables.choose(load(tmp_path), span=0)
    assert choice.columns == ("channel", "label", "region", "shop", "text")
    assert choice.note == (
        "2,001 of 2,006 columns are not read, for neither the task nor its schema names them (age, c0, c1, ...); "
        "a column in evaluation.slices or in the schema is read"
    )


def test_a_column_of_the_curated_schema_is_read_and_goes_on_being_validated(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "rows.csv", header(2000))
    choice = wide_tables.choose(load(tmp_path, schema=SCHEMA), span=0)
    assert choice.columns == ("age", "channel", "label", "region", "shop", "text")
    whole = " ".join(f'feature {{ name: "{name}" }}' for name in header(2000))
    assert wide_tables.choose(load(tmp_path, schema=whole), span=0) == wide_tables.Choice()


def test_a_table_of_some_columns_is_read_whole(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "rows.csv", header(99))
    loaded = load(tmp_path)
    assert wide_tables.choose(loaded, span=0) == wide_tables.Choice()
    node = pipeline.example_gen_of(loaded, span=0)
    assert node.exec_properties["custom_config"] is None  # and what was cached before is still found


@pytest.mark.parametrize("rows", [None, b"", b"\xff\xfe", b"PAR1"])
def test_what_cannot_be_looked_at_is_left_to_its_reader(tmp_path: Path, rows: bytes | None) -> None:
    loaded = load(tmp_path)
    if rows is not None:
        (tmp_path / "data" / "rows.csv").write_bytes(rows)
    assert wide_tables.choose(loaded, span=0) == wide_tables.Choice()
    broken = load(tmp_path, files='{ all = "rows.parquet" }', more='format = "parquet"')
    (tmp_path / "data" / "rows.parquet").write_bytes(b"PAR1")
    assert wide_tables.choose(broken, span=0) == wide_tables.Choice()


def test_each_span_has_its_own_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "span-1" / "rows.csv", header(5))
    write_csv(tmp_path / "data" / "span-2" / "rows.csv", header(2000))
    loaded = load(tmp_path, files='{ all = "span-{SPAN}/*.csv" }')
    assert wide_tables.choose(loaded, span=1) == wide_tables.Choice()
    assert len(wide_tables.choose(loaded, span=2).left_out) == 2001


def test_a_split_may_have_columns_of_its_own(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "train.csv", header(60))
    write_csv(tmp_path / "data" / "eval.csv", [*NAMED, *(f"d{i}" for i in range(60))])
    loaded = load(tmp_path, files='{ train = "train.csv", eval = "eval.csv" }')
    assert len(wide_tables.choose(loaded, span=0).left_out) == 121


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_examples_hold_what_is_read_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """Through TFX's ExampleGen, with the component that the graph has."""
    columns = header(150)
    loaded = load(tmp_path, files=f'{{ all = "rows.{kind}" }}', more=f'format = "{kind}"', schema=SCHEMA)
    if kind == "csv":
        write_csv(tmp_path / "data" / "rows.csv", columns, rows=20)
    else:
        table = pa.table({name: [f"{name} {i}" for i in range(20)] for name in columns})
        pq.write_table(table, tmp_path / "data" / "rows.parquet")
    node = pipeline.example_gen_of(loaded, span=0)
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    example_gen.TableExecutor().Do({}, {"examples": [examples]}, dict(node.exec_properties))
    files = [str(path) for path in (tmp_path / "examples").glob("Split-*/*")]
    found = [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    ]
    assert len(found) == 20
    assert {tuple(sorted(feature)) for feature in found} == {
        ("age", "channel", "label", "region", "shop", "text")
    }
    assert {feature["age"].bytes_list.value[0] for feature in found} == {b"age %d" % i for i in range(20)}


def test_new_task_looks_at_thousands_of_columns_in_seconds_and_lists_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cell that is no date took a hundred times as long as one that is: 2,003 columns of 400 rows took 75 s."""
    tried: list[str] = []
    is_date = roles._is_date
    monkeypatch.setattr(roles, "_is_date", lambda cell: not tried.append(cell) and is_date(cell))
    names = ("text", "label", *(f"c{i}" for i in range(2000)))
    rows = [
        (f"the parcel number {i} came late", f"label {i % 2}", *[f"value number {i % 40}"] * 2000)
        for i in range(400)
    ]
    columns = roles.profile(Table(names, tuple(rows), "", True))
    assert len(tried) == 2002 * 21  # of 400 values 20 may be something else, and the 21st settles it
    found = roles.choose(columns, text=("text",))
    assert found.label == "label"
    assert found.why["label"].startswith("2 values; before c0 (40 values, 3 words), c1 (")
    assert found.why["label"].endswith("c11 (40 values, 3 words), and 1,988 more by its name")


@pytest.mark.parametrize(("others", "is_date"), [(20, True), (21, False), (400, False)])
def test_a_column_is_of_dates_where_nearly_all_values_are(others: int, is_date: bool) -> None:
    cells = [*(f"value {i}" for i in range(others)), *["2024-05-01"] * (400 - others)]
    for order in (cells, cells[::-1]):
        [column] = roles.profile(Table(("day",), tuple((cell,) for cell in order), "", True))
        assert column.is_date == is_date
