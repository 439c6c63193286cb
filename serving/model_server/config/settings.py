"""What a configuration asks for, of models and of batching: checked, with TF Serving's words for what it refuses."""

from __future__ import annotations

import dataclasses
import itertools
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


# Batches that run at the same time on a machine of many processors; the processors are shared among them.
_MAX_THREADS = 4


def usable_processors() -> int:
    """Those that this process may use, where the system says (Linux does, macOS does not)."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_num_batch_threads() -> int:
    """One a processor, four at most."""
    return min(_MAX_THREADS, usable_processors())


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """What TF Serving's batching file may say, by its names.

    The defaults are ours, measured with a MiniLM classifier on two processors and sentences of mixed length:
    the processor time of a row falls from 4.8 ms alone to 3.1 ms in batches of 8 and hardly further (3.0 ms in
    batches of 16, which keep the last of many callers waiting longer: 32 clients got as many answers, but p99
    was 90 ms for 82); two batches on one thread each cost less than one batch on two (3.1 and 3.7 ms a row, and
    4.8 and 8 ms for a lone row). Choosing rows of like length for a batch saved about 5 %: not done.
    """

    max_batch_size: int = 8
    """Rows that run together at most."""

    batch_timeout_micros: int = 0
    """How long a batch that is not full waits for more rows; 0: not at all, what waits runs."""

    max_enqueued_batches: int = 64
    """Batches that may wait; a request that finds more rows waiting is refused with UNAVAILABLE."""

    num_batch_threads: int = dataclasses.field(default_factory=default_num_batch_threads)
    """Batches that run at the same time."""

    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes that a batch is padded up to: increasing, the last is max_batch_size; none: any size runs as it is."""

    enable_large_batch_splitting: bool = True
    """Whether a request of more than max_batch_size rows runs in pieces, or is refused."""

    max_request_rows: int = 0
    """Rows of one request at most, where requests run in pieces: a file's max_batch_size; 0: any number."""

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ValueError: names the key, its value and what it may be.
        """
        for key, least in _LEAST.items():
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}: give {least} or more")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes))):
            raise ValueError(f"allowed_batch_sizes is {list(sizes)}: give increasing numbers from 1 on")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                f"allowed_batch_sizes ends in {sizes[-1]}: the last one must be max_batch_size, "
                f"which is {self.max_batch_size}"
            )


_LEAST = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}
