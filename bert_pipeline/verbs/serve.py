"""The verb `serve`: the server of `serving/`, with the name and folder of a task."""

from __future__ import annotations

import argparse
import dataclasses
import socket
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.requests import PlaceRequest
from bert_pipeline.verbs import common

_HOST = "127.0.0.1"


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "serve",
        "serve the newest pushed model over REST and gRPC",
        common.Verb("verbs.serve", needs_run="files"),
        epilog="Further flags, behind --, go to the server: python -m serving.model_server --help",
    )
    common.add_place(parser)
    parser.add_argument("--grpc_port", type=argument_types.port, default=8500)
    parser.add_argument("--rest_port", type=argument_types.port, default=common.REST_PORT)
    parser.add_argument("--log", action="store_true", help="keep requests, for the verb monitor")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PlaceRequest):
    """What `serve` is asked for."""

    rest_port: int
    grpc_port: int
    log: bool
    """Whether requests are kept."""

    flags: tuple[str, ...]
    """Of the server, as they are."""


def run(request: Request) -> NoReturn:
    """Goes on as the server.

    Raises:
        UserError: a port is in use.
    """
    paths = request.paths
    name = paths.task_name
    _check_port(request.rest_port, option="rest_port")
    _check_port(request.grpc_port, option="grpc_port")
    logging = [f"--request_log_prefix={paths.root / 'requests' / name}"] if request.log else []
    common.become(
        "serving.model_server",
        f"--model_name={name}",
        f"--model_base_path={paths.push_destination}",
        f"--host={_HOST}",
        f"--port={request.grpc_port}",
        f"--rest_api_port={request.rest_port}",
        "--enable_batching",
        "--supervise",
        *logging,
        *request.flags,
    )


def _check_port(port: int, *, option: str) -> None:
    """Says it in a moment, where the server would say it after it has loaded TensorFlow."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise UserError(
                f"{typed.name(option)} is {port}: {error.strerror}; give another, or 0 to do without"
            ) from None
