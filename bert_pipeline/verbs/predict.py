"""The verb `predict`: the client of `serving/`, with the name of a task."""

from __future__ import annotations

import argparse
import dataclasses
import socket
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.requests import PlaceRequest
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "predict",
        "ask a running server",
        common.Verb("verbs.predict"),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PlaceRequest):
    """What `predict` is asked for."""

    rest_port: int
    text: str
    file: str
    id_column: str
    flags: tuple[str, ...]
    """Of the client, as they are."""


def run(request: Request) -> NoReturn:
    """Goes on as the client.

    Raises:
        UserError: no server answers.
    """
    if request.file:
        texts = [f"--file={request.file}"]
        texts += [f"--id_column={request.id_column}"] if request.id_column else []
    else:
        texts = [f"--text={request.text}"]
    name, address = request.paths.task_name, f"localhost:{request.rest_port}"
    if not any(flag.startswith("--address") for flag in request.flags):
        _check_server(request.rest_port)
    common.become("serving.client", f"--model={name}", f"--address={address}", *texts, *request.flags)


def _check_server(port: int) -> None:
    """Says which server to start, which the client cannot know."""
    try:
        socket.create_connection(("localhost", port), timeout=10).close()
    except OSError as error:
        started = typed.command("serve", **({} if port == common.REST_PORT else {"rest_port": str(port)}))
        raise UserError(
            f"no server answers at localhost:{port} ({error.strerror or error}); start one: {started}"
        ) from None
