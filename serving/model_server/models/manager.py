"""The models of a server by name: polled, asked for, and replaced by another set wholly or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures

import grpc
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server import errors, process
from serving.model_server.config.settings import ModelSettings, read_settings
from serving.model_server.errors import ServingError
from serving.model_server.models.servable import Servable
from serving.model_server.models.version_files import QUIET_SECONDS
from serving.model_server.models.versions import LoadPolicy, ServedModel, Version, VersionStatus, Work

Labels = Mapping[str, Mapping[str, int]]
"""Version by label by model."""


@dataclasses.dataclass(frozen=True)
class ServingSet:
    """What is served: replaced as a whole, so that a request sees one set or the other."""

    models: Mapping[str, ServedModel] = dataclasses.field(default_factory=dict)
    labels: Labels = dataclasses.field(default_factory=dict)

    def acquire(self, spec: model_pb2.ModelSpec) -> tuple[Version, Servable]:
        """Holds the version that a request names, until its `release`.

        Raises:
            ServingError: an unknown label, or not loaded.
        """
        number = spec.version.value if spec.HasField("version") else None
        if spec.version_label:
            number = self.labels.get(spec.name, {}).get(spec.version_label)
            if number is None:
                raise errors.invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        model = self.models.get(spec.name)
        if model is None:
            wanted = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise errors.not_found(f"Servable not found for request: {wanted}")
        return model.acquire(number)


@dataclasses.dataclass(frozen=True)
class Staged:
    """One model of a set that is about to be served; its versions are loaded."""

    settings: ModelSettings
    model: ServedModel
    is_new: bool
    """Whether nothing of it is served now."""


def check_available(staged: Staged) -> None:
    """Checks that a model came up: some version, and each one that the policy names.

    Raises:
        ServingError: UNKNOWN, as TF Serving says it; with the version and its error.
    """
    statuses = staged.model.statuses()
    missing = {n for n in staged.settings.policy.specific if not staged.model.serves(n)}
    if not missing and staged.model.available:
        return
    errors_by_version = {n: status.error for n, status in statuses.items() if status.error}
    reasons = [
        f"version {n}: {errors_by_version.get(n) or 'there is no such folder'}"
        for n in sorted(missing or errors_by_version)
    ]
    reason = (
        staged.model.problem or "; ".join(reasons) or f"there is no version under {staged.settings.base_path}"
    )
    message = f"model {staged.settings.name} did not become available, and nothing has been changed: {reason}"
    raise ServingError(grpc.StatusCode.UNKNOWN, message)


def checked_labels(staged: Iterable[Staged], *, current: Labels, lenient: bool) -> Labels:
    """The labels of a new set.

    Args:
        staged: its models.
        current: the labels in force.
        lenient: --allow_version_labels_for_unavailable_models, by TF Serving's rule: a label that is new may point
            anywhere, one that moves may not.

    Raises:
        ServingError: FAILED_PRECONDITION; a label points at a version that is not available, or will not stay.
    """
    labels = {}
    for one in staged:
        name = one.settings.name
        for label, version in one.settings.labels.items():
            moves = current.get(name, {}).get(label, version) != version
            if not one.model.serves(version) and (moves or not lenient):
                raise errors.failed_precondition(
                    f"Request to assign label to version {version} of model {name}, "
                    "which is not currently available for inference"
                )
        labels[name] = one.settings.labels
    return labels


logger = logging.getLogger(__name__)

# A reload waits this long for folders that were copied a moment ago.
_RELOAD_PATIENCE_SECONDS = 2 * QUIET_SECONDS


@dataclasses.dataclass(frozen=True)
class ManagerOptions:
    """How models are loaded, by TF Serving's names where it has one."""

    policy: LoadPolicy = dataclasses.field(default_factory=LoadPolicy)
    num_load_threads: int = 1
    num_unload_threads: int = 1
    allow_version_labels_for_unavailable_models: bool = False
    load: Callable[..., Servable] = Servable
    """Makes a servable of a path, `name` and `version`; runs in a load thread."""

    on_settings: Callable[[list[ModelSettings]], None] | None = None
    """Called with each configuration just before it is put in force; refuses it with ServingError."""


class Manager:
    """Any thread may call any method; those that change something take turns."""

    def __init__(
        self, config: model_server_config_pb2.ModelServerConfig, options: ManagerOptions | None = None
    ) -> None:
        """Loads nothing yet.

        Args:
            config: the models.
            options: how they are loaded.

        Raises:
            ServingError: the configuration is refused; says why.
        """
        self._options = options or ManagerOptions()
        self._settings = read_settings(config)
        self._serving = ServingSet({s.name: self._new_model(s) for s in self._settings})
        self._gone: dict[str, ServedModel] = {}
        self._turn = threading.Lock()
        self._loaders = futures.ThreadPoolExecutor(max(1, self._options.num_load_threads), "load")
        self._unloaders = futures.ThreadPoolExecutor(max(1, self._options.num_unload_threads), "unload")
        self._announce(self._settings)

    @property
    def settings(self) -> list[ModelSettings]:
        """What the configuration in force asks for."""
        return self._settings

    def knows(self, name: str) -> bool:
        """Whether a model of the configuration in force has this name."""
        return name in self._serving.models

    @property
    def ready(self) -> bool:
        """Whether every model has a version that can be called."""
        return all(model.available for model in self._serving.models.values())

    def ready_but(self, bad: Iterable[str]) -> bool:
        """Whether every model has a version that can be called, but for those of which one is bad (`NAME NUMBER`)."""
        names = {what.rpartition(" ")[0] for what in bad}
        return all(model.available or name in names for name, model in self._serving.models.items())

    @property
    def unsettled(self) -> bool:
        """Whether a version waits until its folder is quiet: the next look should be soon."""
        return any(model.unsettled for model in self._serving.models.values())

    def failed(self) -> tuple[str, int, str] | None:
        """Name, version and error of a model of which every version failed for good."""
        for name, model in self._serving.models.items():
            if failure := model.failed():
                return name, *failure
        return None

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Holds the version that a request names, for the time of the request.

        Raises:
            ServingError: an unknown label, or not loaded.
        """
        while True:
            serving = self._serving
            try:
                version, servable = serving.acquire(spec)
                break
            except ServingError:
                if serving is self._serving:
                    raise
        try:
            yield servable
        finally:
            version.release()

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        """The states of the versions that a request names, the highest first; a label is ignored.

        Raises:
            ServingError: NOT_FOUND; there is none.
        """
        model = self._serving.models.get(spec.name) or self._gone.get(spec.name)
        known = model.statuses() if model else {}
        if not spec.HasField("version"):
            if not known:
                raise errors.not_found(f"Could not find any versions of model {spec.name}")
            return known
        version = spec.version.value
        if version not in known:
            raise errors.not_found(f"Could not find version {version} of model {spec.name}")
        return {version: known[version]}

    def poll(self) -> None:
        """Looks at every base path, loads what is new, and only then unloads what is old."""
        with self._turn:
            self._look(self._serving.models.values())

    def assign_labels(self) -> None:
        """Puts the labels of the first configuration in force, when its models are loaded.

        Raises:
            ServingError: FAILED_PRECONDITION; a label points at a version that is not available.
        """
        with self._turn:
            models = self._serving.models
            staged = [Staged(s, models[s.name], is_new=True) for s in self._settings]
            self._serving = ServingSet(models, self._labels(staged))

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves another set of models; returns when it is served.

        Raises:
            ServingError: refused, or a model did not load; then nothing has changed.
        """
        if config.WhichOneof("config") is None:
            logger.info("Taking no action for empty config.")
            return
        settings = read_settings(config)
        with self._turn:
            staged: list[Staged] = []
            try:
                for one in settings:
                    staged.append(self._stage(one))
                    if one not in self._settings:
                        check_available(staged[-1])
                labels = self._labels(staged)
                self._announce(settings)
            except BaseException:
                self._abandon(staged)
                raise
            self._commit(staged, labels)
        logger.info("serving another configuration: %s", ", ".join(s.name for s in settings) or "no model")

    def close(self) -> None:
        """Unloads all, when requests under way are done."""
        with self._turn:
            for model in self._serving.models.values():
                self._free(model.close())
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._unloaders.shutdown()

    def _new_model(self, settings: ModelSettings) -> ServedModel:
        return ServedModel(settings, policy=self._options.policy, load=self._options.load)

    def _look(self, models: Iterable[ServedModel]) -> None:
        loads = [(model, [self._loaders.submit(work) for work in model.look()]) for model in models]
        for model, pending in loads:
            for future in pending:
                future.result()
            self._free(model.retire())

    def _free(self, works: Iterable[Work]) -> None:
        for work in works:
            self._unloaders.submit(work)
            self._unloaders.submit(process.release_memory)

    def _stage(self, settings: ModelSettings) -> Staged:
        """Loads what a model needs beside what is served now."""
        model = self._serving.models.get(settings.name)
        is_new = model is None or model.base_path != settings.base_path
        if model is None or is_new:
            model = self._new_model(settings)
        deadline = time.monotonic() + _RELOAD_PATIENCE_SECONDS
        while True:
            for future in [self._loaders.submit(work) for work in model.look(settings.policy)]:
                future.result()
            if not model.unsettled or time.monotonic() > deadline:
                return Staged(settings, model, is_new)
            time.sleep(QUIET_SECONDS / 8)

    def _labels(self, staged: Iterable[Staged]) -> Labels:
        lenient = self._options.allow_version_labels_for_unavailable_models
        return checked_labels(staged, current=self._serving.labels, lenient=lenient)

    def _announce(self, settings: list[ModelSettings]) -> None:
        if self._options.on_settings:
            self._options.on_settings(settings)

    def _abandon(self, staged: Iterable[Staged]) -> None:
        for one in staged:
            if one.is_new:
                self._free(one.model.close())
            else:
                one.model.look()  # by the policy in force again
                self._free(one.model.retire())

    def _commit(self, staged: list[Staged], labels: Labels) -> None:
        old = self._serving
        for one in staged:
            one.model.version_policy = one.settings.policy
        self._settings = [one.settings for one in staged]
        self._serving = ServingSet({one.settings.name: one.model for one in staged}, labels)
        for one in staged:
            self._free(one.model.retire())
        for name, model in old.models.items():
            if self._serving.models.get(name) is not model:
                self._gone[name] = model
                self._free(model.close())
