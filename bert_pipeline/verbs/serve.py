"""The verb `serve`: the server of `serving/`, with the name and folder of a task."""

from __future__ import annotations

import argparse
import socket
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.verbs import common

_HOST = "127.0.0.1"


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "serve",
        "serve the newest pushed model over REST and gRPC",
        run=_serve,
        epilog="Further flags, behind --, go to the server: python -m serving.model_server --help",
        needs_run="files",
    )
    common.add_place(parser)
    parser.add_argument("--grpc_port", type=argument_types.port, default=8500)
    parser.add_argument("--rest_port", type=argument_types.port, default=common.REST_PORT)
    parser.add_argument("--log", action="store_true", help="keep requests, for the verb monitor")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)


def _serve(arguments: argparse.Namespace) -> NoReturn:
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths

    name = task_name(arguments.task)
    paths = run_paths(name, out=arguments.out)
    for option in ("rest_port", "grpc_port"):
        _check_port(getattr(arguments, option), option=option)
    logging = [f"--request_log_prefix={paths.root / 'requests' / name}"] if arguments.log else []
    common.become(
        "serving.model_server",
        f"--model_name={name}",
        f"--model_base_path={paths.push_destination}",
        f"--host={_HOST}",
        f"--port={arguments.grpc_port}",
        f"--rest_api_port={arguments.rest_port}",
        "--enable_batching",
        "--supervise",
        *logging,
        *arguments.flags,
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
