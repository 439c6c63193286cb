"""The one reader of tables: what a cell is, what a file is by its first bytes, where JSON lines end."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_pipeline.data import table_files
from bert_pipeline.new_task.tables import read_table
from bert_pipeline.settings.errors import UserError

CELLS = [
    (None, b""),
    ("a", b"a"),
    (" a ", b" a "),
    ("", b""),
    (7, b"7"),
    (-1, b"-1"),
    (1.5, b"1.5"),
    (True, b"True"),
    (b"\xff", b"\xff"),
    (["a"], b"a"),
    ([], b"[]"),
    (["a", "b"], b'["a", "b"]'),
    ([["a"]], b'[["a"]]'),
    ({"x": 1}, b'{"x": 1}'),
    ([None], b""),
    (datetime.date(2025, 3, 1), b"2025-03-01"),
]


@pytest.mark.parametrize(("value", "text"), CELLS)
def test_a_value_has_one_text(value: object, text: bytes) -> None:
    assert table_files.cell(value) == text


def test_new_task_and_the_pipeline_read_the_same_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.PARQUET"
    columns = {
        "text": ["a", "b"],
        "label": [["pos"], ["neg"]],
        "more": [["x", "y"], []],
        "struct": [{"k": 1}, None],
    }
    pq.write_table(pa.table(columns), path)
    of_the_pipeline = list(table_files.rows_of_parquet(str(path), path=path))
    table = read_table(path)
    assert table.readable
    of_new_task = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [{k: v.decode() for k, v in row.items()} for row in of_the_pipeline] == of_new_task
    assert of_new_task == [
        {"text": "a", "label": "pos", "more": '["x", "y"]', "struct": '{"k": 1}'},
        {"text": "b", "label": "neg", "more": "[]", "struct": ""},
    ]


def test_class_labels_of_a_hugging_face_parquet_have_their_names(tmp_path: Path) -> None:
    features = {
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pa.table({"text": ["a", "b", "c"], "label": pa.array([1, 0, -1], pa.int64())})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "rows.parquet")
    rows = list(table_files.rows_of_parquet(str(tmp_path / "rows.parquet"), path="rows.parquet"))
    assert [row["label"] for row in rows] == [b"pos", b"neg", b""]


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("rows.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "is a Git LFS pointer"),
        ("rows.parquet", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("rows.csv", b"PK\x03\x04\x14\x00", "a zip archive"),
        ("rows.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook of the old form"),
        ("rows.csv", b"\x1f\x8b\x08", "compressed with gzip"),
        ("rows.csv", b"PAR1\x15\x04", "is a Parquet file; rename it to rows.parquet"),
        ("rows.parquet", b"text,label\n", "is no Parquet file"),
        ("rows.PARQUET", b"", "is no Parquet file"),
        ("rows.tsv", b"%PDF-1.7", "a PDF"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, head: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(head)
    with pytest.raises(UserError, match=message) as of_new_task:
        read_table(path)
    assert str(path) in str(of_new_task.value)
    if name.endswith("csv"):
        with pytest.raises(UserError, match=message):
            list(table_files.rows_of_csv(head, path=path))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"text,label\na\0b,pos\n", r"rows.csv:2: a NUL byte"),
        (b"text,text\na,b\n", r"rows.csv:1: two columns are called 'text'"),
        (b"", r"rows.csv:1: there is no header"),
    ],
)
def test_what_no_table_holds_is_named_with_its_line(raw: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(table_files.rows_of_csv(raw, path="rows.csv"))


def test_a_damaged_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(UserError, match=f"{path} cannot be read as Parquet: "):
        list(table_files.rows_of_parquet(str(path), path=path))


def test_json_lines_end_at_line_feeds_only() -> None:
    records = table_files.json_records(
        '{"text": "a\u2028b\u0085c"}\r\n{"text": "d", "n": 1.0}\n', path="d.jsonl"
    )
    assert records == [{"text": "a\u2028b\u0085c"}, {"text": "d", "n": "1.0"}]


def test_numbers_of_json_are_as_they_are_written() -> None:
    [record] = table_files.json_records(
        '[{"a": 1.50, "b": 9007199254740993, "c": true, "d": null, "e": NaN}]', path="d"
    )
    assert [table_files.cell(value) for value in record.values()] == [
        b"1.50",
        b"9007199254740993",
        b"True",
        b"",
        b"NaN",
    ]


@pytest.mark.parametrize("name", ["reviews [final].csv", "a*b.csv", "what?.csv", "a\\b.csv"])
def test_a_name_that_a_pattern_reads_otherwise_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="which a pattern of files gives a meaning"):
        table_files.check_name(name, key="FILE")


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        ("", True), (" \t\r\n", True), ("\u200b\u200b", True), ("\ufeff", True), ("\u00ad\u2060", True),
        ("\u3000", True),
        ("\0", True), ("a", False), (".", False), (" \u200bx", False), ("\u0301", False), ("\ufffd", False),
    ],
)  # fmt: skip
def test_a_text_that_shows_nothing_is_blank(text: str, blank: bool) -> None:
    assert table_files.is_blank(text) is blank
