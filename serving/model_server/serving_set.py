"""A set of models and their labels, as requests see it; and what a new set must fulfil to take its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import grpc
from tensorflow_serving.apis import model_pb2

from serving.model_server import errors
from serving.model_server.errors import ServingError
from serving.model_server.model_settings import ModelSettings
from serving.model_server.servable import Servable
from serving.model_server.version import Version
from serving.model_server.versions import ServedModel

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
