"""Configuration files: models.config, batching, monitoring and TLS, in TF Serving's text formats."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.config.settings import BatchingParameters
from serving.model_server.errors import ServingError
from serving.protos import message_classes

# As `message_classes` wants them. The value types are google.protobuf's wrappers, by which
# a text file says `max_batch_size { value: 32 }`.
_CLASSES = message_classes(
    "tensorflow.serving",
    {
        "Int64Value": [("value", "int64", 1)],
        "BoolValue": [("value", "bool", 1)],
        "StringValue": [("value", "string", 1)],
        "BatchingParameters": [
            ("max_batch_size", "Int64Value", 1),
            ("batch_timeout_micros", "Int64Value", 2),
            ("max_enqueued_batches", "Int64Value", 3),
            ("num_batch_threads", "Int64Value", 4),
            ("thread_pool_name", "StringValue", 5),
            ("allowed_batch_sizes", "int64*", 6),
            ("pad_variable_length_inputs", "bool", 7),
            ("enable_large_batch_splitting", "BoolValue", 8),
            ("max_execution_batch_size", "Int64Value", 9),
        ],
        "PrometheusConfig": [("enable", "bool", 1), ("path", "string", 2)],
        "MonitoringConfig": [("prometheus_config", "PrometheusConfig", 1)],
        "SSLConfig": [
            ("server_key", "string", 1),
            ("server_cert", "string", 2),
            ("custom_ca", "string", 3),
            ("client_verify", "bool", 4),
        ],
    },
)


class ConfigError(Exception):
    """A configuration file that cannot be used; the message names file, line, key and value."""


def read_text(path: str) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from error


def parse(text: str, message: Any, *, path: str) -> Any:
    """Reads protobuf's text format.

    Args:
        text: the file.
        message: what it describes; is filled.
        path: of the file, for errors.

    Returns:
        The message.

    Raises:
        ConfigError: with the line, and with the nearest name where a field is unknown.
    """
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        where = f"{path}:{line}" if line else path
        said = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error))
        shown = text.splitlines()[line - 1].strip() if line and line <= len(text.splitlines()) else ""
        raise ConfigError(f"{where}: {said}{_nearest(said, message)} (in: {shown})") from error


def _nearest(said: str, message: Any) -> str:
    """` Did you mean ...?` for a message like: Message type "a.B" has no field named "c"."""
    match = re.search(r'Message type "([^"]+)" has no field named "([^"]+)"', said)
    if match is None:
        return ""
    descriptor = _find(message.DESCRIPTOR, match[1], seen=set())
    names = [field.name for field in descriptor.fields] if descriptor else []
    near = difflib.get_close_matches(match[2], names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else f" It has: {', '.join(names)}."


def _find(descriptor: Any, full_name: str, *, seen: set[str]) -> Any:
    if descriptor.full_name == full_name:
        return descriptor
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.full_name not in seen:
            found = _find(field.message_type, full_name, seen=seen)
            if found is not None:
                return found
    return None


logger = logging.getLogger(__name__)

# TF Serving's own; https://www.tensorflow.org/tfx/serving/serving_config#monitoring_configuration
_METRICS_PATH = "/monitoring/prometheus/metrics"
# Fields of the batching file that mean nothing here.
_BATCHING_WITHOUT_EFFECT = ("thread_pool_name", "pad_variable_length_inputs")
_BATCHING_NUMBERS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """What a monitoring file says."""

    enabled: bool = False
    path: str = _METRICS_PATH


def parse_models(text: str, *, path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads the text of models.config.

    Raises:
        ConfigError: it is not a ModelServerConfig.
    """
    config = parse(text, model_server_config_pb2.ModelServerConfig(), path=path)
    if config.WhichOneof("config") is None:
        raise ConfigError(f"{path}: it names no model; add model_config_list {{ config {{ name: ... }} }}")
    return config


def read_batching(path: str, *, num_threads: int = 0) -> BatchingParameters:
    """Reads a batching file.

    Args:
        path: of the file.
        num_threads: takes the place of the file's num_batch_threads; 0: the file's.

    Raises:
        ConfigError: it cannot be read or parsed, or a value is out of range.
    """
    message = parse(read_text(path), _CLASSES["BatchingParameters"](), path=path)
    values: dict[str, Any] = {
        key: getattr(message, key).value for key in _BATCHING_NUMBERS if message.HasField(key)
    }
    if num_threads:
        values["num_batch_threads"] = num_threads
    if message.allowed_batch_sizes:
        values["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    if message.HasField("max_batch_size"):
        values["max_request_rows"] = message.max_batch_size.value
    if message.HasField("enable_large_batch_splitting"):
        values["enable_large_batch_splitting"] = message.enable_large_batch_splitting.value
        if message.enable_large_batch_splitting.value and message.HasField("max_execution_batch_size"):
            values["max_batch_size"] = message.max_execution_batch_size.value
    ignored = [field.name for field, _ in message.ListFields() if field.name in _BATCHING_WITHOUT_EFFECT]
    if ignored:
        logger.warning("%s: without effect here: %s", path, ", ".join(ignored))
    try:
        return BatchingParameters(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_monitoring(path: str) -> Monitoring:
    """Reads a monitoring file.

    Raises:
        ConfigError: it cannot be read or parsed, or its path is none.
    """
    config = parse(read_text(path), _CLASSES["MonitoringConfig"](), path=path).prometheus_config
    if config.path and not config.path.startswith("/"):
        raise ConfigError(f'{path}: prometheus_config.path is "{config.path}"; it must begin with /')
    return Monitoring(enabled=config.enable, path=config.path or _METRICS_PATH)


def read_ssl(path: str) -> grpc.ServerCredentials:
    """Reads an SSL file: keys and certificates as PEM text, not as paths.

    Raises:
        ConfigError: it cannot be read or parsed, or a part is missing.
    """
    config = parse(read_text(path), _CLASSES["SSLConfig"](), path=path)
    for key in ("server_key", "server_cert", "custom_ca"):
        value = getattr(config, key)
        if (value or key != "custom_ca") and not value.lstrip().startswith("-----BEGIN "):
            raise ConfigError(f'{path}: {key} is "{value[:40]}"; give the PEM text itself, -----BEGIN ...')
    if config.client_verify and not config.custom_ca:
        raise ConfigError(
            f"{path}: client_verify is true without custom_ca; add the PEM text of the clients' CA"
        )
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


class ConfigWatch:
    """models.config, looked at again and again; a bad one is logged, and what was served before is served on."""

    def __init__(
        self, path: str, *, reload: Callable[[model_server_config_pb2.ModelServerConfig], None]
    ) -> None:
        """Reads nothing yet.

        Args:
            path: of the file.
            reload: puts a configuration in force, or raises ServingError.
        """
        self._path = path
        self._reload = reload
        self._applied: str | None = None
        self._refused = ""

    def read(self) -> model_server_config_pb2.ModelServerConfig:
        """The file as it is now; it counts as applied.

        Raises:
            ConfigError: it cannot be read or parsed.
        """
        self._applied = read_text(self._path)
        return parse_models(self._applied, path=self._path)

    def look(self) -> None:
        """Applies the file if it has changed; one that was refused is tried again, and logged once."""
        try:
            text = read_text(self._path)
            if text == self._applied:
                return
            self._reload(parse_models(text, path=self._path))
            self._applied, self._refused = text, ""
        except (ConfigError, ServingError) as error:
            reason = error.message if isinstance(error, ServingError) else str(error)
            if reason != self._refused:
                logger.error("%s is not applied, the old configuration stays: %s", self._path, reason)
            self._refused = reason
