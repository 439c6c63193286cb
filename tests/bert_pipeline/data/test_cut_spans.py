"""Dated tables become spans, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bert_pipeline import __main__ as command_line
from bert_pipeline.components.example_gen import read_csv
from bert_pipeline.data.cut_spans import cut, first_days
from bert_pipeline.settings.errors import UserError

TABLE = (
    b"text,created\n"
    b'"two\nlines, quoted",2015-02-16 23:36:05 -0800\n'
    b"caf\xe9,2015-02-22\n"
    b"late,2015-02-23T00:00:01Z\n"
    b"early,2015-02-17\n"
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "all.csv"
    path.write_bytes(TABLE)
    return path


def test_rows_go_to_their_week_in_their_order_and_byte_for_byte(table, tmp_path):
    counts = cut([table], date_column="created", by="week", folder=tmp_path / "spans")
    assert counts == {"2015-02-16": 3, "2015-02-23": 1}
    rows = list(read_csv(str(tmp_path / "spans/2015-02-16/rows.csv")))
    assert [row["text"] for row in rows] == [b"two\nlines, quoted", b"caf\xe9", b"early"]


@pytest.mark.parametrize(
    ("text", "by", "name"),
    [
        ("2025-07-02", "day", "2025-07-02"),
        ("2025-07-02", "week", "2025-06-30"),
        ("2025-07-02 10:00:00 -0800", "month", "2025-07-01"),
        ("2025-07-02T23:59:60.5Z", "day", "2025-07-02"),
        ("2025-07-02 10:00:00+05:30", "day", "2025-07-02"),
        ("2025-07-32", "day", ""),
        ("2025-07-02 25:99:00", "day", ""),
        ("2025-07-02 12:60", "day", ""),
        ("2025-07-02 10:00 or later", "day", ""),
        ("02.07.2025", "day", ""),
        ("", "day", ""),
    ],
)
def test_a_date_is_iso_8601_and_names_the_first_day_of_its_span(text, by, name):
    assert first_days(pd.Series([text]), by=by).fillna("").tolist() == [name]


def test_bad_dates_are_counted_and_named_and_nothing_is_written(table, tmp_path):
    table.write_bytes(TABLE + b"x,yesterday\ny,\n")
    with pytest.raises(UserError, match=r"2 rows have no date, for example all\.csv row 5: 'yesterday'"):
        cut([table], date_column="created", by="day", folder=tmp_path / "spans")
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


def test_new_dates_are_added_and_old_spans_stay(table, tmp_path):
    folder = tmp_path / "spans"
    cut([table], date_column="created", by="week", folder=folder)
    before = (folder / "2015-02-16/rows.csv").stat().st_mtime_ns
    table.write_bytes(TABLE + b"new,2015-03-05\n")
    assert cut([table], date_column="created", by="week", folder=folder)["2015-03-02"] == 1
    assert (folder / "2015-02-16/rows.csv").stat().st_mtime_ns == before


def test_a_span_that_would_change_is_refused(table, tmp_path):
    folder = tmp_path / "spans"
    cut([table], date_column="created", by="week", folder=folder)
    table.write_bytes(TABLE + b"late,2015-02-18\nnew,2015-03-05\n")
    with pytest.raises(UserError, match=r"2015-02-16/rows\.csv is there and holds other rows"):
        cut([table], date_column="created", by="week", folder=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["2015-02-16", "2015-02-23"]


def test_a_table_without_the_column_is_named_with_those_it_has(table, tmp_path):
    with pytest.raises(UserError, match=r"no column 'date' \(--date\); it has text, created"):
        cut([table], date_column="date", by="day", folder=tmp_path / "spans")


def test_tables_with_other_columns_are_refused(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("body,created\nx,2015-02-16\n")
    with pytest.raises(
        UserError, match=r"other\.csv: its columns are body, created, and those .* text, created"
    ):
        cut([table, other], date_column="created", by="day", folder=tmp_path / "spans")


def test_the_command_tells_the_spans_and_the_next_step(table, tmp_path, capsys):
    folder = tmp_path / "spans"
    status = command_line.main(
        ["spans", "--csv", str(table), "--date", "created", "--by", "month", "--to", str(folder)]
    )
    assert status == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "  2015-02-01        4 rows",
        f"1 span, 4 rows in {folder}",
    ]


def test_here_is_a_folder_like_any_other(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cut([table], date_column="created", by="month", folder=Path(".")) == {"2015-02-01": 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2015-02-01", "all.csv"]


def test_file_is_not_a_folder(table, tmp_path):
    with pytest.raises(
        UserError, match=r"--to: .*all\.csv is a file; give a folder|TO: .*all\.csv is a file"
    ):
        cut([table], date_column="created", by="month", folder=table)
    assert table.read_bytes() == TABLE


def test_folder_of_somebody_else_is_refused_and_left(table, tmp_path):
    (tmp_path / "2015-02-01").mkdir()
    (tmp_path / "2015-02-01" / "notes.csv").write_text("mine")
    (tmp_path / f".{tmp_path.name}.partial").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"2015-02-01/rows\.csv is not there, but its folder is; spans that"):
        cut([table], date_column="created", by="month", folder=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_next_command_takes_the_folder_as_it_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text,day\nfine,2025-07-01\n")
    assert command_line.main(["spans", "--csv", "a.csv", "--date", "day", "--to", "my spans"]) == 0
    assert capsys.readouterr().out.endswith(
        "in the task file, then: python -m bert_pipeline pipeline --task ... --data 'my spans'\n"
    )
