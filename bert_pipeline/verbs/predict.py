"""The verb `predict`: the client of `serving/`, with the name of a task."""

from __future__ import annotations

import argparse
import socket
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "predict",
        "ask a running server",
        run=_predict,
        epilog="Further flags, behind --, go to the client: python -m serving.client --help",
    )
    common.add_place(parser)
    parser.add_argument("--rest_port", type=argument_types.port, default=common.REST_PORT)
    parser.add_argument("--text", default="", help='a text, or {"column": "text", ...}')
    parser.add_argument(
        "--file", type=argument_types.file, default="", help="texts: .csv, .jsonl or .txt, instead of a text"
    )
    parser.add_argument("--id_column", default="", help="of the file: ids for the server's request log")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)


def _predict(arguments: argparse.Namespace) -> NoReturn:
    from bert_pipeline.settings.config import task_name

    if arguments.file:
        texts = [f"--file={arguments.file}"]
        texts += [f"--id_column={arguments.id_column}"] if arguments.id_column else []
    else:
        texts = [f"--text={arguments.text}"]
    name, address = task_name(arguments.task), f"localhost:{arguments.rest_port}"
    if not any(flag.startswith("--address") for flag in arguments.flags):
        _check_server(arguments.rest_port)
    common.become("serving.client", f"--model={name}", f"--address={address}", *texts, *arguments.flags)


def _check_server(port: int) -> None:
    """Says which server to start, which the client cannot know."""
    try:
        socket.create_connection(("localhost", port), timeout=10).close()
    except OSError as error:
        started = typed.command("serve", **({} if port == common.REST_PORT else {"rest_port": str(port)}))
        raise UserError(
            f"no server answers at localhost:{port} ({error.strerror or error}); start one: {started}"
        ) from None
