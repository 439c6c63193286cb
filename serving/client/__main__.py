"""The client's command line, `python -m serving.client`: single texts, or a file of them."""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from serving.client.client import PORTS, Client, Prediction, Text
from serving.client.transport import ClientError, Retries, Tls

_LABEL = "predicted_label"
_PROGRESS_SECONDS = 1.0

Row = dict[str, Any]


def classify_file(client: Client, path: str, *, out: str, id_column: str = "") -> int:
    """Classifies a file's rows.

    Args:
        client: asks the model.
        path: .csv (with a header), .jsonl (an object a line) or .txt (a text a line); - is standard input as .txt.
        out: .csv or .jsonl; its rows are those that were read, with `predicted_label` and a
            `probability_LABEL` for each label. "" is standard output, in the form of the file that is read. The file is
            there when it is complete, and not before.
        id_column: its values are the ids of the rows in the server's request log; "": the server makes some.

    Returns:
        Number of rows.

    Raises:
        ClientError: the file lacks a column of the model, or cannot be read; or as `Client.classify`.
    """
    as_csv = _kind(out or path) == ".csv"
    if out and _kind(out) not in (".csv", ".jsonl"):
        raise ClientError(f"{out}: the output is .csv or .jsonl")
    with _opened(path) as (file, size), _written(out) as target:
        # Rows that are asked for and not answered yet are kept between the two.
        wanted = [*client.columns, *([id_column] if id_column else [])]
        read = _read(file, path, columns=client.columns, wanted=wanted, id_column=id_column)
        rows, asked, named = itertools.tee(read, 3)
        ids = (row[id_column] for row in named) if id_column else None
        predictions = client.stream(_texts(asked, columns=client.columns), ids=ids)
        pairs = zip(rows, predictions, strict=False)
        answers = _with_progress(pairs, file=file, size=size)
        if not as_csv:
            return _write_jsonl(answers, target)
        return _write_csv(answers, target, keys=_all_keys(path) if _kind(path) == ".jsonl" else [])


def _all_keys(path: str) -> list[str]:
    """The keys of every line of a .jsonl, in the order in which they first stand: a CSV's header comes first."""
    with _opened(path) as (file, _):
        try:
            return list(dict.fromkeys(key for row in _read_jsonl(file, []) for key in row))
        except (UnicodeDecodeError, json.JSONDecodeError):
            return []  # reading the rows says where


def _kind(path: str) -> str:
    """How its name ends: `.csv`; "" for standard input."""
    return os.path.splitext(path)[1].lower()


def _texts(rows: Iterable[Row], *, columns: list[str]) -> Iterator[Text]:
    return ({column: row[column] for column in columns} for row in rows)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[TextIO, int]]:
    """The file and its size in bytes, 0 where that is unknown."""
    if path == "-":
        yield sys.stdin, 0
        return
    try:
        file = open(path, encoding="utf-8-sig", newline="")  # noqa: SIM115  # closed below
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file, os.path.getsize(path)


@contextlib.contextmanager
def _written(out: str) -> Iterator[TextIO]:
    """A file that appears when all went well."""
    if not out:
        yield sys.stdout
        return
    partial = out + ".partial"
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(partial, out)
    except (OSError, UnicodeEncodeError) as error:
        raise ClientError(f"{out} cannot be written: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)


def _read(file: TextIO, path: str, *, columns: list[str], wanted: list[str], id_column: str) -> Iterator[Row]:
    """The rows of a file, each with the wanted columns, the model's among them, as strings."""
    kind = _kind(path)
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".txt": _read_lines, "": _read_lines}
    if kind not in readers:
        raise ClientError(f"{path}: a file is .csv, .jsonl or .txt")
    if readers[kind] is _read_lines and len(columns) != 1:
        raise ClientError(f"{path}: the model takes the columns {', '.join(columns)}; give a .csv or .jsonl")
    try:
        for number, row in enumerate(readers[kind](file, columns), start=1):
            where = f"{path}, row {number}"
            _check(row, where, columns=wanted)
            if id_column and not row[id_column]:
                raise ClientError(
                    f"{where}: no id in the column {id_column}; give each row one, or leave the option out"
                )
            yield row
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ClientError(f"{path} cannot be read as {kind or 'text'} in UTF-8: {error}") from error


def _check(row: Row, where: str, *, columns: list[str]) -> None:
    """Refuses rows without texts, and rows whose values would be lost."""
    missing = [column for column in columns if not isinstance(row.get(column), str)]
    if missing:
        found = ", ".join(map(str, row)) or "nothing"
        raise ClientError(f"{where}: no text in the column {missing[0]}; the row has: {found}")
    if None in row:  # where csv puts what is left over
        raise ClientError(f"{where}: more values than columns; put quotes around values with commas")
    for column in columns:
        try:
            row[column].encode()
        except UnicodeEncodeError as error:  # half of a pair, which JSON can say
            half = ascii(error.object[error.start])[1:-1]
            raise ClientError(f"{where}: {half} is not a character, in the column {column}") from error
    if _LABEL in row:
        raise ClientError(f"{where}: there is a column {_LABEL} already; rename it")


def _read_csv(file: TextIO, columns: list[str]) -> Iterator[Row]:
    reader = csv.DictReader(file, strict=True)
    names = reader.fieldnames or []
    if len(set(names)) < len(names):
        raise csv.Error(f"two columns have the same name: {', '.join(names)}")
    return reader


def _read_jsonl(file: TextIO, columns: list[str]) -> Iterator[Row]:
    for line in file:
        row = json.loads(line) if line.strip() else None
        if isinstance(row, Mapping):
            yield dict(row)
        elif row is not None:
            yield {"(no object)": row}


def _read_lines(file: TextIO, columns: list[str]) -> Iterator[Row]:
    return ({columns[0]: line.rstrip("\r\n")} for line in file if line.strip())


def _with_progress(
    answers: Iterable[tuple[Row, Prediction]], *, file: TextIO, size: int
) -> Iterator[tuple[Row, Prediction]]:
    """Reports progress on standard error: once a second on a terminal, and at the end."""
    start = last = time.monotonic()
    shown, count = sys.stderr.isatty(), 0
    try:
        for count, answer in enumerate(answers, start=1):
            yield answer
            now = time.monotonic()
            if shown and now - last >= _PROGRESS_SECONDS:
                last = now
                line = _progress(count, now - start, file, size)
                print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
    finally:
        seconds = time.monotonic() - start
        clear = "\r\033[K" if shown else ""
        rate = count / max(seconds, 1e-9)
        print(f"{clear}{count} rows in {seconds:.1f} s, {rate:.0f} rows/s", file=sys.stderr)


def _progress(count: int, seconds: float, file: TextIO, size: int) -> str:
    text = f"{count} rows  {count / seconds:.0f} rows/s"
    # What is read ahead is a few batches: near enough.
    done = file.buffer.tell() / size if size else 0
    return f"{text}  {done:.0%}  {seconds * (1 - done) / done:.0f} s left" if done else text


def _columns_of(prediction: Prediction) -> Row:
    shares = {f"probability_{label}": share for label, share in prediction.probabilities.items()}
    return {_LABEL: prediction.label, **shares}


def _write_csv(answers: Iterable[tuple[Row, Prediction]], target: TextIO, *, keys: list[str]) -> int:
    count, writer = 0, None
    for row, prediction in answers:
        count += 1
        row = {**row, **_columns_of(prediction)}
        if writer is None:
            fields = list(dict.fromkeys([*keys, *row]))
            writer = csv.DictWriter(target, fields, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return count


def _write_jsonl(answers: Iterable[tuple[Row, Prediction]], target: TextIO) -> int:
    count = 0
    for row, prediction in answers:
        count += 1
        target.write(json.dumps({**row, **_columns_of(prediction)}, ensure_ascii=False) + "\n")
    return count


_BAR_WIDTH = 30
_SHOWN_LABELS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; its exit status: 0, 1 without an answer, 2 for wrong arguments."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    if bool(flags.text) == bool(flags.file):
        parser.error("give texts with --text, or a file of them with --file")
    try:
        client = _client(flags)
    except ClientError as error:
        parser.error(str(error))
    try:
        with client:
            if flags.file:
                classify_file(client, flags.file, out=flags.out, id_column=flags.id_column)
            else:
                texts = [_parse_text(text) for text in flags.text]
                for text, prediction in zip(texts, client.classify(texts), strict=True):
                    _show(text, prediction)
            sys.stdout.flush()
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:
        print(f"the terminal or pipe does not take the text: {error}; set PYTHONUTF8=1", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head`; Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1
    return 0


def _client(flags: argparse.Namespace) -> Client:
    tls = Tls(flags.ca_file, flags.certificate_file, flags.key_file)
    return Client(
        flags.address,
        model=flags.model,
        protocol=flags.protocol,
        version=flags.version,
        version_label=flags.version_label,
        signature_name=flags.signature_name,
        tls=tls if flags.tls or tls != Tls() else None,
        timeout_seconds=flags.timeout_seconds,
        retries=Retries(flags.retries),
        batch_size=flags.batch_size,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serving.client", description="Asks a served model for labels.")
    add = parser.add_argument
    add("--text", action="append", default=[], help='a text, or {"column": "text", ...}; repeatable')
    add(
        "--file",
        default="",
        help="texts: .csv, .jsonl or .txt; -: lines of standard input",
    )
    add("--out", default="", help="where to: .csv or .jsonl; default: standard output")
    add("--id_column", default="", help="of the file: ids of its rows for the server's request log")
    add("--model", default="shoes", help="name under which the model is served")
    add("--address", default="", help="host:port; default: localhost and the usual port")
    add("--protocol", choices=sorted(PORTS), default="rest")
    add("--version", type=int, help="default: the latest")
    add("--version_label", default="", help="instead of a version")
    add("--signature_name", default="serving_default", help="default: %(default)s")
    add("--timeout_seconds", type=float, default=30.0, help="for each call, retries included")
    add("--retries", type=int, default=Retries().most, help="of a call that finds the server full or away")
    add("--batch_size", type=int, default=32, help="texts in one call")
    add("--tls", action="store_true", help="encrypt; the machine's certificate authorities count")
    add("--ca_file", default="", help="PEM of the authorities that count instead")
    add("--certificate_file", default="", help="PEM of the client's certificate")
    add("--key_file", default="", help="PEM of its key")
    return parser


def _parse_text(text: str) -> Text:
    """A text of several columns comes as a JSON object of strings; anything else is the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and value and all(isinstance(v, str) for v in value.values()):
        return value
    return text


def _show(text: Text, prediction: Prediction) -> None:
    """Bars for a person, a line of JSON for a program."""
    if not sys.stdout.isatty():
        answer = {"label": prediction.label, "probabilities": prediction.probabilities}
        print(json.dumps(answer, ensure_ascii=False))
        return
    print(text if isinstance(text, str) else " | ".join(text.values()))
    ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])[:_SHOWN_LABELS]
    width = max(len(label) for label, _ in ranked)
    for label, probability in ranked:
        bar = "#" * round(probability * _BAR_WIDTH)
        print(f"  {label:{width}}  {probability:6.1%}  {bar}")


if __name__ == "__main__":
    sys.exit(main())
