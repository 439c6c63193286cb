"""Files through the client: what is read, what is written, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from serving.client import __main__ as cli
from tests.serving.processes import RunningServer


def run(server: RunningServer, *flags: str) -> int:
    return cli.main(["--model=toy", f"--address={server.rest_address}", *flags])


def test_csv_keeps_its_columns_and_gains_the_answers(server: RunningServer, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id,text\n1,hi\n2,"hello,\nworld"\n', encoding="utf-8-sig")
    assert run(server, "--file", str(source), "--out", str(out)) == 0
    with open(out, newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {
                "id": "1",
                "text": "hi",
                "predicted_label": "short",
                "probability_short": "0.8",
                "probability_long": "0.2",
            },
            {
                "id": "2",
                "text": "hello,\nworld",
                "predicted_label": "long",
                "probability_short": "0.2",
                "probability_long": "0.8",
            },
        ]


def test_lines_and_json_lines_go_to_standard_output(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("hi\n\n")
    (tmp_path / "in.jsonl").write_text('{"text": "hello, world", "id": 7}\n')
    assert run(server, "--file", str(tmp_path / "in.txt")) == 0
    assert run(server, "--file", str(tmp_path / "in.jsonl")) == 0
    captured = capsys.readouterr()
    first, second = map(json.loads, captured.out.splitlines())
    assert (first["text"], first["predicted_label"]) == ("hi", "short")
    assert (second["id"], second["probability_long"]) == (7, 0.8)
    assert captured.err.startswith("1 rows in ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"id,title\n1,hi\n", "in.csv, row 1: no text in the column text; the row has: id, title"),
        ("in.csv", b'id,text\n1,"hi\n', "in.csv cannot be read as .csv in UTF-8: "),
        ("in.txt", b"fine\nbad \xff\n", "in.txt cannot be read as .txt in UTF-8: "),
        ("in.jsonl", b'{"text": 3}\n', "in.jsonl, row 1: no text in the column text; the row has: text"),
        ("in.jsonl", b"[1]\n", "in.jsonl, row 1: no text in the column text"),
        ("in.csv", b"text,id\nhi, you,1\n", "in.csv, row 1: more values than columns; put quotes"),
        ("in.csv", b"text,id,id\nhi,1,2\n", "two columns have the same name: text, id, id"),
        ("in.csv", b"text,predicted_label\nhi,x\n", "row 1: there is a column predicted_label already"),
        ("in.xlsx", b"", "a file is .csv, .jsonl or .txt"),
    ],
)
def test_file_that_does_not_fit_is_told_and_leaves_no_output(
    server: RunningServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    message: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out.csv"
    assert run(server, "--file", str(tmp_path / name), "--out", str(out)) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_file_may_take_the_place_of_what_it_was_made_of(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "IN.CSV"
    path.write_text("text\nhi\n")
    assert run(server, "--file", str(path), "--out", str(path)) == 0
    assert path.read_text() == "text,predicted_label,probability_short,probability_long\nhi,short,0.8,0.2\n"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_input_is_lines(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\nhello, world\n"))
    assert run(server, "--file", "-") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["text"], line["predicted_label"]) for line in lines] == [
        ("hi", "short"),
        ("hello, world", "long"),
    ]


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("in.csv", "out.xlsx", "out.xlsx: the output is .csv or .jsonl"),
        (
            "in.csv",
            "no/such/folder/out.csv",
            "out.csv cannot be written: [Errno 2] No such file or directory",
        ),
        ("none.csv", "out.csv", "none.csv cannot be read: No such file or directory"),
        ("surrogate.jsonl", "out.jsonl", "row 1: \\ud800 is not a character"),
    ],
)
def test_output_that_cannot_be_is_refused(
    server: RunningServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    out: str,
    message: str,
) -> None:
    (tmp_path / "in.csv").write_text("text\nhi\n")
    (tmp_path / "surrogate.jsonl").write_text('{"text": "hi \\ud800"}\n')
    assert run(server, "--file", str(tmp_path / source), "--out", str(tmp_path / out)) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "surrogate.jsonl"]


def test_many_rows_stay_in_order_and_are_counted(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("n,text\n" + "".join(f"{n},{'x' * (1 + n % 9)}\n" for n in range(1000)))
    assert run(server, "--file", str(source), "--out", str(out), "--batch_size=7") == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["n"] for row in rows] == [str(n) for n in range(1000)]
    assert all(row["predicted_label"] == ("long" if len(row["text"]) > 5 else "short") for row in rows)
    assert capsys.readouterr().err.startswith("1000 rows in ")


def test_a_row_without_an_id_is_refused_and_named(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,text\nr-1,hi\n,ho\nr-3,hello\n")
    assert run(server, "--file", str(source), "--out", str(out), "--id_column", "id") == 1
    assert f"{source}, row 2: no id in the column id; give each row one" in capsys.readouterr().err
    assert not out.exists()


def test_keys_of_later_lines_are_columns_of_the_csv(server: RunningServer, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text('{"text": "hi"}\n{"text": "ho", "source": "mail"}\n')
    assert run(server, "--file", str(source), "--out", str(out)) == 0
    assert out.read_text().splitlines() == [
        "text,source,predicted_label,probability_short,probability_long",
        "hi,,short,0.8,0.2",
        "ho,mail,short,0.8,0.2",
    ]
