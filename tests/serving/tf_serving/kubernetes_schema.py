"""Checks manifests against Kubernetes' own API description, offline.

The official Python client is generated from Kubernetes' OpenAPI description: each class lists its keys, their types and
what must be there. Keys that it does not list are problems here, as with `kubectl apply --validate=strict`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from kubernetes import client

_CONFIGURATION = client.Configuration()  # client_side_validation is on
_SIMPLE: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "datetime": (str,),
}
# What a resource that is no part of Kubernetes inlines: the keys of its own beside those of a Kubernetes type.
# https://github.com/kserve/kserve/tree/master/pkg/apis/serving/v1beta1: predictor.go, component.go, predictor_model.go
PREDICTOR_KEYS = {
    "model",
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "containerConcurrency",
    "timeout",
    "canaryTrafficPercent",
    "labels",
    "annotations",
}
MODEL_KEYS = {"modelFormat", "runtime", "protocolVersion", "runtimeVersion", "storageUri", "storage"}


def problems(manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with a whole resource.

    >>> problems({"apiVersion": "v1", "kind": "Service", "spec": {"port": 1}})
    ['Service.spec.port: V1ServiceSpec has no such key']
    """
    version = manifest["apiVersion"].rpartition("/")[2]
    name = version[0].upper() + version[1:] + manifest["kind"]
    return list(_check(manifest, name, where=manifest["kind"]))


def inference_service_problems(manifest: Mapping[str, Any]) -> list[str]:
    """The same for KServe's InferenceService, whose description no package brings.

    What it has of Kubernetes is checked as such, its own keys by name; values of its own are not checked.
    """
    predictor = manifest["spec"]["predictor"]
    pod = {"containers": [], **_without(predictor, PREDICTOR_KEYS)}
    container = {"name": "kserve-container", **_without(predictor["model"], MODEL_KEYS)}
    return [
        *(f"spec: unknown key {key}" for key in manifest["spec"] if key != "predictor"),
        *_check(manifest["metadata"], "V1ObjectMeta", where="metadata"),
        *_check(pod, "V1PodSpec", where="predictor"),
        *_check(container, "V1Container", where="predictor.model"),
    ]


def _without(values: Mapping[str, Any], keys: Set[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _check(value: Any, kind: str, *, where: str) -> list[str]:
    """Problems of a value that should be of a type, in the words of the client: `list[V1Container]`, say."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        return _flat(_check(item, match[1], where=f"{where}[{i}]") for i, item in enumerate(value))
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no mapping"]
        return _flat(_check(item, match[1], where=f"{where}.{key}") for key, item in value.items())
    if kind in _SIMPLE:
        fits = isinstance(value, _SIMPLE[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if fits else [f"{where}: {value!r} is no {kind}"]
    if kind == "object":
        return []
    return _check_object(value, kind, where=where)


def _check_object(value: Any, kind: str, *, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no {kind}"]
    model = getattr(client, kind)
    attributes = {key: attribute for attribute, key in model.attribute_map.items()}
    found = [f"{where}.{key}: {kind} has no such key" for key in value if key not in attributes]
    known = {key: item for key, item in value.items() if key in attributes}
    for key, item in known.items():
        found += _check(item, model.openapi_types[attributes[key]], where=f"{where}.{key}")
    try:
        model(
            **{attributes[key]: item for key, item in known.items()}, local_vars_configuration=_CONFIGURATION
        )
    except ValueError as error:
        found.append(f"{where}: {error}")
    return found


def _flat(lists: Any) -> list[str]:
    return [problem for found in lists for problem in found]
