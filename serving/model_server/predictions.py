"""What both protocols ask of a set of models: prediction, metadata, status."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from serving.model_server import errors, tensors
from serving.model_server.servable import DEFAULT_SIGNATURE, Servable
from serving.model_server.versions import ServedModel, VersionStatus

# TF Serving writes the canonical code UNKNOWN where a load failed without one.
_OK, _UNKNOWN = 0, 2


class Models:
    """The models of one server, by name."""

    def __init__(self, models: dict[str, ServedModel]) -> None:
        """Takes the models that are polled elsewhere."""
        self._models = models

    def use(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        """Holds the version that a request names, for the time of the request.

        Raises:
            ServingError: no name, an unknown label, or not loaded.
        """
        version = _version(spec)
        if not spec.name:
            raise errors.invalid_argument("ModelSpec has no name specified.")
        if spec.version_label:
            raise errors.invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        if spec.name not in self._models:
            wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise errors.not_found(f"Servable not found for request: {wanted}")
        return self._models[spec.name].use(version)

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs one request.

        Raises:
            ServingError: whatever is wrong with it.
        """
        if not request.HasField("model_spec"):
            raise errors.invalid_argument("Missing ModelSpec")
        with self.use(request.model_spec) as servable:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            outputs = servable.predict(
                request.inputs, signature_name=name, output_filter=tuple(request.output_filter)
            )
            response = predict_pb2.PredictResponse(model_spec=_resolved(servable, signature_name=name))
        for alias, array in outputs.items():
            response.outputs[alias].CopyFrom(tensors.to_proto(array))
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version.

        Raises:
            ServingError: no such version, or a field other than `signature_def` is asked for.
        """
        if not request.HasField("model_spec"):
            raise errors.invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise errors.invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise errors.invalid_argument(f"Metadata field {field} is not supported")
        with self.use(request.model_spec) as servable:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
            spec = _resolved(servable, signature_name="")
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        """The states of the versions that a request names, the highest first; a label is ignored.

        Raises:
            ServingError: NOT_FOUND; there is none.
        """
        if not spec.name:
            raise errors.invalid_argument("ModelSpec has no name specified.")
        version = _version(spec)
        known = self._models[spec.name].statuses() if spec.name in self._models else {}
        if version is None:
            if not known:
                raise errors.not_found(f"Could not find any versions of model {spec.name}")
            return known
        if version not in known:
            raise errors.not_found(f"Could not find version {version} of model {spec.name}")
        return {version: known[version]}

    def status_response(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """`statuses` as a proto."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in self.statuses(spec).items():
            entry = response.model_version_status.add(version=version, state=status.state)
            entry.status.error_code = _UNKNOWN if status.error else _OK
            entry.status.error_message = status.error
        return response


def _version(spec: model_pb2.ModelSpec) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _resolved(servable: Servable, *, signature_name: str) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec
