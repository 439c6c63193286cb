"""JSON of a model's status and metadata: protos by their own field names, with every default."""

from __future__ import annotations

import inspect
import json
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

# protobuf 5 renamed the option.
_DEFAULTS = next(
    name
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in inspect.signature(json_format.MessageToDict).parameters
)


def write_status(response: get_model_status_pb2.GetModelStatusResponse) -> str:
    """The states of a model's versions."""
    return json.dumps({"model_version_status": [], **_as_dict(response)}, ensure_ascii=False)


def write_metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """The signatures of a version."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    document = {
        "model_spec": _as_dict(response.model_spec),
        "metadata": {"signature_def": _as_dict(signatures)},
    }
    return json.dumps(document, ensure_ascii=False)


def _as_dict(message: Any) -> dict[str, Any]:
    options = {"preserving_proto_field_name": True, _DEFAULTS: True}
    return dict(json_format.MessageToDict(message, **options))
