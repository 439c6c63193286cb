"""The client's command line: single texts, or a file of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from serving.client import PORTS, Client, ClientError, Prediction, Retries, Text, Tls
from serving.client_files import classify_file

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
