"""What a configuration asks for, model by model: checked, and with TF Serving's words for what it refuses."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

import grpc
from tensorflow_serving.config import logging_config_pb2, model_server_config_pb2

from serving.model_server.errors import ServingError, invalid_argument

_PLATFORM = "tensorflow"
# The one log collector that the embedded server has.
_LOG_TYPE = "tfrecord"


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served."""

    latest: int = 1
    """The N highest ones; 0: all."""

    specific: frozenset[int] = frozenset()
    """These and no others; empty: `latest` decides."""

    def choose(self, paths: dict[int, str]) -> dict[int, str]:
        """The folders to be served, by version, the highest first.

        >>> VersionPolicy(latest=2).choose({1: "a/1", 9: "a/9", 4: "a/4"})
        {9: 'a/9', 4: 'a/4'}
        """
        versions = sorted(paths, reverse=True)
        if self.specific:
            versions = [version for version in versions if version in self.specific]
        elif self.latest:
            versions = versions[: self.latest]
        return {version: paths[version] for version in versions}


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """One model of a configuration."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    """Version by label."""

    logging: logging_config_pb2.LoggingConfig | None = None
    """What is to be logged of its requests; None: nothing."""


def single_model(
    name: str, base_path: str, *, log_prefix: str = "", sampling_rate: float = 1.0
) -> model_server_config_pb2.ModelServerConfig:
    """The configuration that --model_name, --model_base_path and --request_log_* stand for; paths may be relative."""
    config = model_server_config_pb2.ModelServerConfig()
    path = base_path if "://" in base_path else os.path.abspath(base_path)
    model = config.model_config_list.config.add(name=name, base_path=path, model_platform=_PLATFORM)
    if log_prefix:
        model.logging_config.sampling_config.sampling_rate = sampling_rate
        model.logging_config.log_collector_config.type = _LOG_TYPE
        model.logging_config.log_collector_config.filename_prefix = os.path.abspath(log_prefix)
    return config


def check_log_prefixes(
    config: model_server_config_pb2.ModelServerConfig, *, folder: str, in_force: Iterable[ModelSettings]
) -> None:
    """Refuses a client's configuration that would write files elsewhere than the operator said.

    Args:
        config: from a client, not from a file of the operator.
        folder: under which request logs may lie; "": nowhere but where they lie now.
        in_force: what is served now.

    Raises:
        ServingError: PERMISSION_DENIED; names the model and the path.
    """
    known = {s.logging.log_collector_config.filename_prefix for s in in_force if s.logging}
    for model in config.model_config_list.config:
        prefix = model.logging_config.log_collector_config.filename_prefix
        if not prefix or prefix in known:
            continue
        root, real = os.path.realpath(folder), os.path.realpath(prefix)
        if not folder or not os.path.isabs(prefix) or not real.startswith(os.path.join(root, "")):
            where = f"under {folder}" if folder else "nowhere: --request_log_folder is not given"
            raise ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"Model {model.name}: logging_config names {prefix}; a reload may log {where}",
                reason="a reload that names a log file elsewhere than --request_log_folder",
            )


def read_settings(config: model_server_config_pb2.ModelServerConfig) -> list[ModelSettings]:
    """Checks a configuration.

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION, with the model, the key and the value.
    """
    if config.HasField("custom_model_config"):
        message = "custom_model_config is not supported; list the models in model_config_list"
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)
    settings: dict[str, ModelSettings] = {}
    for model in config.model_config_list.config:
        if model.name in settings:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        settings[model.name] = _read_model(model)
    return list(settings.values())


def _read_model(model: model_server_config_pb2.ModelConfig) -> ModelSettings:
    if not model.name:
        raise invalid_argument(f"a model with base_path {model.base_path!r} has no name; set `name`")
    _check_platform(model)
    return ModelSettings(
        name=model.name,
        base_path=_local_path(model),
        policy=_read_policy(model),
        labels=dict(model.version_labels),
        logging=_read_logging(model) if model.HasField("logging_config") else None,
    )


def _check_platform(model: model_server_config_pb2.ModelConfig) -> None:
    if model.model_type and model.model_platform:
        raise invalid_argument("Illegal setting both model_type(deprecated) and model_platform.")
    if not model.model_type and not model.model_platform:
        raise invalid_argument("Illegal setting neither model_type(deprecated) nor model_platform.")
    platform = model.model_platform or model_server_config_pb2.ModelType.Name(model.model_type).lower()
    if platform != _PLATFORM:
        raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


def _local_path(model: model_server_config_pb2.ModelConfig) -> str:
    path = model.base_path.removeprefix("file://")
    if "://" in path:
        raise invalid_argument(
            f"Model {model.name}: base_path {path} is not on a file system of this machine; mount it, or copy it"
        )
    if not os.path.isabs(path):
        raise invalid_argument(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={path}"
        )
    return path


def _read_policy(model: model_server_config_pb2.ModelConfig) -> VersionPolicy:
    policy = model.model_version_policy
    if policy.HasField("all"):
        return VersionPolicy(latest=0)
    if policy.HasField("specific"):
        if not policy.specific.versions:
            raise invalid_argument(
                f"Model {model.name}: model_version_policy.specific names no version; add `versions: N`"
            )
        return VersionPolicy(specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=policy.latest.num_versions or 1)


def _read_logging(model: model_server_config_pb2.ModelConfig) -> logging_config_pb2.LoggingConfig:
    config = model.logging_config
    where = f"Model {model.name}: logging_config"
    if config.log_collector_config.type != _LOG_TYPE:
        raise invalid_argument(
            f'{where}.log_collector_config.type is "{config.log_collector_config.type}"; only "{_LOG_TYPE}" is known'
        )
    if not config.log_collector_config.filename_prefix:
        raise invalid_argument(f"{where}.log_collector_config.filename_prefix is empty; give a path")
    if not 0 <= config.sampling_config.sampling_rate <= 1:
        raise invalid_argument(
            f"{where}.sampling_config.sampling_rate is {config.sampling_config.sampling_rate}; it must be within [0, 1]"
        )
    return config
