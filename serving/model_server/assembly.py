"""What a server consists of, put together from its flags."""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

from serving.model_server import process
from serving.model_server.api import Models
from serving.model_server.config import files
from serving.model_server.config.files import ConfigWatch, Monitoring
from serving.model_server.config.settings import (
    BatchingParameters,
    ModelSettings,
    check_log_prefixes,
    single_model,
)
from serving.model_server.grpc_service import GrpcServer, Health
from serving.model_server.models.loading import SessionThreads
from serving.model_server.models.manager import Manager, ManagerOptions
from serving.model_server.models.servable import LoadError, Servable
from serving.model_server.models.versions import LoadPolicy
from serving.model_server.observe.metrics import Metrics, server_figures
from serving.model_server.observe.request_log import RequestLog
from serving.model_server.rest.demo_page import demo_pages
from serving.model_server.rest.server import Page, RestServer

logger = logging.getLogger(__name__)

# In the folder of a version, with --enable_per_model_batching_parameters.
_BATCHING_FILE = "batching_params.pbtxt"


class Assembly:
    """The models, and the fronts that answer for them."""

    def __init__(self, flags: argparse.Namespace) -> None:
        """Reads the configuration files; loads nothing, and takes no port.

        Raises:
            ConfigError: a file cannot be used.
            ServingError: the models cannot be served as configured.
        """
        self._flags = flags
        self._credentials = files.read_ssl(flags.ssl_config_file) if flags.ssl_config_file else None
        monitoring = flags.monitoring_config_file
        self._monitoring = files.read_monitoring(monitoring) if monitoring else Monitoring()
        self.config_watch = (
            ConfigWatch(flags.model_config_file, reload=lambda config: self.manager.reload(config))
            if flags.model_config_file
            else None
        )
        config = (
            self.config_watch.read()
            if self.config_watch
            else single_model(
                flags.model_name,
                flags.model_base_path,
                log_prefix=flags.request_log_prefix,
                sampling_rate=flags.request_log_sampling_rate,
            )
        )
        self._request_log = RequestLog()
        self.manager = Manager(config, _manager_options(flags, on_settings=self._request_log.configure))
        self.health = Health(lambda: self.manager.ready, has_models=lambda: bool(self.manager.settings))
        figures = functools.partial(server_figures, self.manager, self._request_log)
        self._metrics = Metrics(figures, knows=self.manager.knows)
        self._models = Models(
            self.manager,
            request_log=self._request_log,
            check_reload=lambda config: check_log_prefixes(
                config, folder=flags.request_log_folder, in_force=self.manager.settings
            ),
        )
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None

    async def open_ports(self) -> dict[str, int]:
        """Begins to answer.

        Returns:
            Port by the name of its flag.

        Raises:
            OSError: a port is taken.
        """
        flags, ports = self._flags, {}
        if flags.port or flags.port_file:
            self._grpc = await self._start_grpc()
            ports["port"] = self._grpc.port
        if flags.rest_api_port or flags.port_file:
            self._rest = RestServer(
                self._models,
                host=flags.host,
                port=flags.rest_api_port,
                pages=self._pages(),
                cors=flags.rest_api_enable_cors_support,
                metrics=self._metrics,
                timeout_seconds=flags.rest_api_timeout_in_ms / 1e3,
            )
            await self._rest.start()
            ports["rest_api_port"] = self._rest.port
        return ports

    async def _start_grpc(self) -> GrpcServer:
        flags = self._flags
        front = GrpcServer(
            self._models,
            host=flags.host,
            port=flags.port,
            credentials=self._credentials,
            health=flags.enable_grpc_healthcheck_service,
            metrics=self._metrics,
            reload_from=flags.reload_from,
            options=flags.grpc_channel_arguments,
            is_ready=lambda: self.health.ready()[0] == 200,
        )
        server = await front.bind()
        if flags.grpc_socket_path:
            path = f"unix:{flags.grpc_socket_path}"
            if self._credentials:
                server.add_secure_port(path, self._credentials)
            else:
                server.add_insecure_port(path)
        await front.start()
        return front

    async def set_ready(self, ready: bool) -> None:
        """Turns readiness on or off, for both protocols."""
        self.health.draining = not ready
        if self._grpc:
            await self._grpc.set_ready(ready)

    async def close(self, grace_seconds: float) -> None:
        """Takes no new requests and waits for those under way; the models end with the process."""
        await asyncio.gather(*[front.stop(grace_seconds) for front in (self._grpc, self._rest) if front])
        self._request_log.close()

    def _pages(self) -> dict[str, Page]:
        pages: dict[str, Page] = {**self.health.pages(), **demo_pages(self.manager)}
        if self._monitoring.enabled:
            pages[self._monitoring.path] = self._metrics.page
        return pages


def _manager_options(
    flags: argparse.Namespace, *, on_settings: Callable[[list[ModelSettings]], None]
) -> ManagerOptions:
    policy = LoadPolicy(
        max_retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
        waits_for_writers=flags.file_system_poll_wait_seconds != 0,
    )
    return ManagerOptions(
        policy=policy,
        num_load_threads=flags.num_load_threads,
        num_unload_threads=flags.num_unload_threads,
        allow_version_labels_for_unavailable_models=flags.allow_version_labels_for_unavailable_models,
        load=_loader(flags),
        on_settings=on_settings,
    )


def _loader(flags: argparse.Namespace) -> Any:
    batching = None
    if flags.enable_batching:
        file = flags.batching_parameters_file
        batching = files.read_batching(file) if file else BatchingParameters()
    threads = SessionThreads(
        intra_op=flags.tensorflow_intra_op_parallelism or flags.tensorflow_session_parallelism,
        inter_op=flags.tensorflow_inter_op_parallelism or flags.tensorflow_session_parallelism,
    )
    return functools.partial(
        _load,
        batching=batching,
        threads=threads,
        check_method_names=flags.enable_signature_method_name_check,
        own_batching=flags.enable_per_model_batching_parameters,
    )


def _load(
    path: str,
    *,
    name: str,
    version: int,
    batching: BatchingParameters | None,
    threads: SessionThreads,
    check_method_names: bool,
    own_batching: bool,
) -> Servable:
    """Loads a version; its own batching file, where those count, is in place of the server's."""
    if f"{name} {version}" in process.bad():
        raise LoadError("it has ended the server several times; push another version, or restart the server")
    file = os.path.join(path, _BATCHING_FILE)
    if batching and own_batching:
        try:
            batching = files.read_batching(file, num_threads=batching.num_batch_threads)
        except files.ConfigError as error:
            raise LoadError(str(error)) from error
    with process.marked(f"{name} {version}"):
        return Servable(
            path,
            name=name,
            version=version,
            batching=batching,
            threads=threads,
            check_method_names=check_method_names,
        )
