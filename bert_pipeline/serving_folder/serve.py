"""The verbs `serve` and `predict`: the server and the client of `serving/`, with the name and folder of a task."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from bert_pipeline.settings import argument_types, typed
from bert_pipeline.settings.errors import UserError

_HOST = "127.0.0.1"
_REST_PORT = 8501


def add(verbs: Any) -> None:
    """Adds the verbs to the parser's (`ArgumentParser.add_subparsers`)."""
    serve = verbs.add_parser(
        "serve",
        help="serve the newest pushed model over REST and gRPC",
        epilog="Further flags, behind --, go to the server: python -m serving.model_server --help",
    )
    serve.add_argument("--grpc_port", type=argument_types.port, default=8500)
    serve.add_argument("--rest_port", type=argument_types.port, default=_REST_PORT)
    serve.add_argument("--log", action="store_true", help="keep requests, for the verb monitor")
    serve.set_defaults(run=_serve, needs_run="files")

    predict = verbs.add_parser(
        "predict",
        help="ask a running server",
        epilog="Further flags, behind --, go to the client: python -m serving.client --help",
    )
    predict.add_argument("--rest_port", type=argument_types.port, default=_REST_PORT)
    predict.add_argument("--text", default="", help='a text, or {"column": "text", ...}')
    predict.add_argument(
        "--file", type=argument_types.file, default="", help="texts: .csv, .jsonl or .txt, instead of a text"
    )
    predict.add_argument("--id_column", default="", help="of the file: ids for the server's request log")
    predict.set_defaults(run=_predict)
    for parser in (serve, predict):
        parser.add_argument("--task", default="shoes", help="name of a file in tasks/, or a path")
        parser.add_argument("--out", default="out", type=argument_types.out_folder, help="where runs write")
        parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)


def _serve(arguments: argparse.Namespace) -> NoReturn:
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths

    name = task_name(arguments.task)
    paths = run_paths(name, out=arguments.out)
    for option in ("rest_port", "grpc_port"):
        _check_port(getattr(arguments, option), option=option)
    logging = [f"--request_log_prefix={paths.root / 'requests' / name}"] if arguments.log else []
    _become(
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
    _become("serving.client", f"--model={name}", f"--address={address}", *texts, *arguments.flags)


def _check_server(port: int) -> None:
    """Says which server to start, which the client cannot know."""
    try:
        socket.create_connection(("localhost", port), timeout=10).close()
    except OSError as error:
        started = typed.command("serve", **({} if port == _REST_PORT else {"rest_port": str(port)}))
        raise UserError(
            f"no server answers at localhost:{port} ({error.strerror or error}); start one: {started}"
        ) from None


def _become(module: str, *flags: str) -> NoReturn:
    """Goes on as another program, so that signals and exit status are its own."""
    sys.stdout.flush()
    root = str(Path(__file__).resolve().parents[2])
    given = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, *([given] if given else [])])
    os.execve(sys.executable, [sys.executable, "-m", module, *flags], {**os.environ, "PYTHONPATH": path})
