"""The command line: every flag of TF Serving 2.16's tensorflow_model_server, and a few of our own.

The flags, their defaults and meanings: tensorflow_serving/model_servers/{main.cc,server.h} of TF Serving 2.16.
By argparse: absl.flags would take `--enable_batching false` for true, and list its own flags beside these.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

EXIT_USAGE = 2

_RELOAD_FROM = ("anywhere", "loopback", "nowhere")
_TRUE, _FALSE = {"true", "1", "t", "yes"}, {"false", "0", "f", "no"}


def _bool(text: str) -> bool:
    """TF Serving takes `--flag`, `--flag=true` and `--flag=false`."""
    if text.lower() not in _TRUE | _FALSE:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


def _channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Numbers are numbers, as in TF Serving; gRPC itself reports a name that it does not know."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(name and separator for name, separator, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value,name=value")
    return [(name, int(value) if value.lstrip("-").isdigit() else value) for name, _, value in pairs]


# Name, type, default, help. An empty file name is none.
_Flag = tuple[str, Any, Any, str]
_MODELS: list[_Flag] = [
    ("model_name", str, "default", "name under which the model is asked for; not with --model_config_file"),
    ("model_base_path", str, "", "folder with one folder for each version; not with --model_config_file"),
    ("model_config_file", str, "", "ModelServerConfig in text format: several models, versions, labels"),
    ("model_config_file_poll_wait_seconds", float, 0.0, "seconds between looks at that file; 0: once"),
    (
        "file_system_poll_wait_seconds",
        float,
        1.0,
        "seconds between looks at base paths; 0: look once, and load what is there even if it is still being written; "
        "negative: never look",
    ),
    ("max_num_load_retries", int, 5, "how often a load that failed is tried again"),
    ("load_retry_interval_micros", int, 60_000_000, "time between two tries; negative: none"),
    ("num_load_threads", int, 0, "models loaded at the same time; 0: one"),
    ("num_unload_threads", int, 0, "models unloaded at the same time; 0: one"),
    ("allow_version_labels_for_unavailable_models", _bool, False, "let a new label point anywhere"),
]
_PORTS: list[_Flag] = [
    ("port", int, 8500, "gRPC port; 0: off, but see --port_file"),
    ("grpc_socket_path", str, "", "listen for gRPC on this UNIX socket as well"),
    ("grpc_channel_arguments", _channel_arguments, "", "gRPC's own settings: name=value,name=value"),
    ("rest_api_port", int, 0, "REST port; 0: off, but see --port_file"),
    ("rest_api_timeout_in_ms", int, 30_000, "time limit of a REST call"),
    ("rest_api_enable_cors_support", _bool, False, "send CORS headers"),
    ("ssl_config_file", str, "", "SSLConfig in text format: TLS for gRPC"),
    ("monitoring_config_file", str, "", "MonitoringConfig in text format: Prometheus"),
    ("enable_grpc_healthcheck_service", _bool, False, "answer grpc.health.v1"),
]
_RUNNING: list[_Flag] = [
    ("enable_batching", _bool, False, "run requests that come together as one batch"),
    ("batching_parameters_file", str, "", "BatchingParameters in text format"),
    (
        "enable_per_model_batching_parameters",
        _bool,
        False,
        "read batching_params.pbtxt in a version's folder; the file above gives the number of threads only",
    ),
    ("tensorflow_session_parallelism", int, 0, "threads of TensorFlow, of both kinds below"),
    ("tensorflow_intra_op_parallelism", int, 0, "threads that share one op; 0: processors / batch threads"),
    ("tensorflow_inter_op_parallelism", int, 0, "ops of a call that run at the same time; 0: one"),
    (
        "enable_signature_method_name_check",
        _bool,
        False,
        "serve Classify and Regress only by signatures that were exported for them (TensorFlow 2 exports none)",
    ),
    ("version", _bool, False, "print the versions and stop"),
]
_OURS: list[_Flag] = [
    ("host", str, "0.0.0.0", "address to listen on"),
    (
        "port_file",
        str,
        "",
        'a port of 0 becomes any free one, and this file says which: {"port": n, "rest_api_port": n}; it appears '
        "when the server is ready",
    ),
    (
        "supervise",
        _bool,
        False,
        "start the server again when a signal has ended it; a model during which it ended thrice is left out",
    ),
    ("exit_with_stdin", _bool, False, "stop when standard input ends: when the process that holds it dies"),
    ("drain_delay_seconds", float, 0.0, "after SIGTERM, answer on for so long with readiness off"),
    (
        "request_log_prefix",
        str,
        "",
        "keep requests and answers in files of this name; with --model_base_path (models.config has logging_config)",
    ),
    ("request_log_sampling_rate", float, 1.0, "share of the requests that are kept, 0 to 1"),
    (
        "request_log_folder",
        str,
        "",
        "under which the logging_config of a reload over gRPC may name files; none: only those that are written now",
    ),
    ("reload_from", str, "anywhere", "where a reload over gRPC may come from: anywhere, loopback or nowhere"),
    ("drain_timeout_seconds", float, 25.0, "after that, requests under way get so long to end"),
]
# Flags for what the embedded server does not have: accepted, so that a command line can be carried over. Answers are
# computed as the graph says, whatever --mixed_precision wants.
_WITHOUT_EFFECT: dict[str, Any] = {
    name: kind
    for kind, names in {
        _bool: "enable_model_warmup enable_profiler enable_serialization_as_tensor_content flush_filesystem_caches "
        "prefer_tflite_model remove_unused_fields_from_bundle_metagraph skip_initialize_tpu use_alts_credentials "
        "xla_cpu_compilation_enabled xla_gpu_compilation_enabled",
        int: "grpc_max_threads num_request_iterations_for_warmup num_tflite_interpreters_per_pool num_tflite_pools "
        "rest_api_num_threads",
        float: "per_process_gpu_memory_fraction",
        str: "mixed_precision platform_config_file saved_model_tags tensorflow_session_config_file "
        "thread_pool_factory_config_file",
    }.items()
    for name in names.split()
}


class _Parser(argparse.ArgumentParser):
    """Ends with one line instead of the whole usage, which is 40 flags long."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            EXIT_USAGE, f"{self.prog}: {message.replace('argument --', '--')}; --help lists the flags\n"
        )


def parse_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the flags, given as --name=value or --name value.

    Args:
        arguments: None is the process's own.

    Returns:
        Value by name, and `without_effect`: names that were given and mean nothing here.
    """
    parser = _Parser(
        prog="serving.model_server",
        allow_abbrev=False,
        description="Serves SavedModels over TF Serving's gRPC and REST API.",
    )
    titles = ("models", "ports", "running", "ours: not in TF Serving")
    for title, table in zip(titles, (_MODELS, _PORTS, _RUNNING, _OURS), strict=True):
        group = parser.add_argument_group(title)
        for name, kind, default, text in table:
            _add(group, name, kind, default=default, help=text + ("" if kind is _bool else f" ({default})"))
    for name, kind in _WITHOUT_EFFECT.items():
        _add(parser, name, kind, default=None, help=argparse.SUPPRESS)
    flags, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_unknown(unknown[0], known=list(vars(flags))))
    _check(flags, parser)
    flags.without_effect = [name for name in _WITHOUT_EFFECT if getattr(flags, name) is not None]
    return flags


def _add(parser: Any, name: str, kind: Any, **more: Any) -> None:
    if kind is _bool:
        more.update(nargs="?", const=True)
    parser.add_argument(
        f"--{name}", type=kind, metavar={int: "N", float: "X", _bool: ""}.get(kind, "TEXT"), **more
    )


def _unknown(argument: str, *, known: Sequence[str]) -> str:
    if not argument.startswith("--"):
        return f"unknown argument {argument!r}; every flag begins with --"
    name = argument[2:].partition("=")[0]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown flag --{name}" + (f"; did you mean --{near[0]}?" if near else "")


def _check(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses what cannot be meant."""
    if flags.version:
        return
    if not flags.model_config_file and not flags.model_base_path:
        parser.error("give --model_base_path, or --model_config_file")
    if flags.request_log_prefix and flags.model_config_file:
        parser.error(
            "--request_log_prefix is beside --model_config_file; write logging_config into that file"
        )
    if not 0 <= flags.request_log_sampling_rate <= 1:
        parser.error(
            f"--request_log_sampling_rate is {flags.request_log_sampling_rate}; give a share from 0 to 1"
        )
    if flags.reload_from not in _RELOAD_FROM:
        parser.error(f"--reload_from is {flags.reload_from!r}; give {', '.join(_RELOAD_FROM)}")
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file is set without --enable_batching; set both or neither")
    if flags.port and flags.port == flags.rest_api_port:
        parser.error(f"--port and --rest_api_port are both {flags.port}; give two different ports")
    if flags.grpc_socket_path and not (flags.port or flags.port_file):
        parser.error("--grpc_socket_path is beside --port, which is 0; give a port as well")
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) <= 65535:
            parser.error(f"--{name} is {getattr(flags, name)}; ports go from 0 to 65535")
    if flags.use_alts_credentials:
        parser.error("--use_alts_credentials is not supported; --ssl_config_file gives TLS")
    parallelism = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if flags.tensorflow_session_parallelism and any(parallelism):
        parser.error(
            "--tensorflow_session_parallelism sets both --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism; give it or them"
        )
