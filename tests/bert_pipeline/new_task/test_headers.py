"""Whether a table's first record names its columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from bert_pipeline.new_task.tables import Reading, read_table
from bert_pipeline.settings.errors import UserError

TEXTS = [
    "the parcel came two days late and wet",
    "lovely colour and it fits well too",
    "nobody ever answered my three letters so far",
    "works as described, would buy it again",
    "the seam came apart in the first week",
]
ROWS = [(f"{TEXTS[i % 5]} ({i})", ("spam", "ham")[i % 2]) for i in range(40)]
QUESTION = "How satisfied are you with the product that you bought from us lately?"


def write(folder: Path, header: tuple[str, ...] | None, rows: list[tuple[str, ...]], start: str = "") -> Path:
    lines = [",".join(f'"{cell}"' for cell in row) for row in ([header] if header else []) + rows]
    path = folder / "rows.csv"
    path.write_text(start + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "rows", "columns"),
    [
        (("text", "label"), ROWS, ("text", "label")),
        (("text", "spam"), ROWS, ("text", "spam")),  # a column named like one of its labels
        ((QUESTION, "label"), ROWS, (QUESTION, "label")),
        (("text", "2024"), ROWS, ("text", "2024")),
        (("Kommentar", "Urteil"), ROWS, ("Kommentar", "Urteil")),
        (
            ("", "text", "label"),
            [(str(i), *row) for i, row in enumerate(ROWS)],
            ("text", "label"),
        ),  # pandas' index
        (("", "text", "label"), [(str(i), *row) for i, row in enumerate(ROWS) if i % 3], ("text", "label")),
        (("text", "label", ""), [(*row, "") for row in ROWS], ("text", "label")),
        (("text", "label"), [*ROWS, ("text", "spam"), ("label", "ham")], ("text", "label")),  # also a value
        (("text", "stars"), [(text, str(i % 5)) for i, (text, _) in enumerate(ROWS)], ("text", "stars")),
        (None, ROWS, ("column_1", "column_2")),
        (None, [(text, str(i % 5)) for i, (text, _) in enumerate(ROWS)], ("column_1", "column_2")),
        (None, [(str(i), *row) for i, row in enumerate(ROWS)], ("column_1", "column_2", "column_3")),
    ],
)
def test_a_header_is_found_by_all_columns_together(
    tmp_path: Path, header: tuple[str, ...] | None, rows: list[tuple[str, ...]], columns: tuple[str, ...]
) -> None:
    table = read_table(write(tmp_path, header, rows))
    assert table.columns == columns
    assert len(table.rows) == len(rows)


def test_where_both_readings_remain_both_are_named_with_the_option(tmp_path: Path) -> None:
    path = write(tmp_path, ("gossip", "spam"), ROWS)
    with pytest.raises(
        UserError, match=r"the first record \('gossip', 'spam'\) may name the columns.*--header"
    ):
        read_table(path)
    assert read_table(path, reading=Reading(header=True)).columns == ("gossip", "spam")
    table = read_table(path, reading=Reading(header=False))
    assert (table.columns, len(table.rows)) == (("column_1", "column_2"), 41)


def test_what_was_left_out_is_said_and_such_a_file_is_converted(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, ("", "text", "label"), [(str(i), *row) for i, row in enumerate(ROWS)]))
    assert table.told == "UTF-8, comma, with a header, column 1, without a name (an index), left out"
    assert not table.readable


def test_excels_line_with_the_separator_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("sep=;\r\ntext;label\r\n" + "".join(f"{a};{b}\r\n" for a, b in ROWS), encoding="utf-8")
    table = read_table(path)
    assert (table.columns, len(table.rows)) == (("text", "label"), 40)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-8-sig", "cp1252"])
def test_an_encoding_is_found_from_the_whole_file(tmp_path: Path, encoding: str) -> None:
    """The only letter outside ASCII stands behind the first mebibyte."""
    rows = [(f"{TEXTS[i % 5]} ({i})", ("spam", "ham")[i % 2]) for i in range(40_000)] + [
        ("caf\u00e9 again", "ham")
    ]
    path = tmp_path / "rows.csv"
    path.write_bytes(("text,label\n" + "".join(f'"{a}",{b}\n' for a, b in rows)).encode(encoding))
    assert read_table(path).rows[-1] == ("caf\u00e9 again", "ham")


def test_an_encoding_that_is_named_is_taken_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("text,label\nna\u00efve words of it,a\nmore words of it,b\n".encode("cp1252"))
    assert read_table(path, reading=Reading(True, "cp1252")).rows[0][0] == "na\u00efve words of it"
    with pytest.raises(UserError, match="byte 13 is not utf-8"):
        read_table(path, reading=Reading(True, "utf-8"))
    with pytest.raises(UserError, match="no such encoding"):
        read_table(path, reading=Reading(True, "utf-9"))
