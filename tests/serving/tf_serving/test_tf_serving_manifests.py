"""Manifests and compose files are valid: Kubernetes, kustomize, KServe, docker compose."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.serving.tf_serving import kubernetes_schema
from tests.serving.tf_serving.tf_serving_files import HERE, TASK, containers, manifest, read

MANIFESTS = sorted((HERE / "kubernetes" / "base").glob("*.yaml"))


OVERLAYS = sorted(path.parent for path in HERE.glob("*/*/kustomization.yaml"))


@pytest.mark.parametrize(
    "path", [p for p in MANIFESTS if p.name != "kustomization.yaml"], ids=lambda p: p.name
)
def test_manifests_fit_kubernetes_own_description(path: Path) -> None:
    for document in read(path):
        assert kubernetes_schema.problems(document) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda pod: pod.update(gracePeriod=5), "gracePeriod: V1PodSpec has no such key"),
        (lambda pod: pod["containers"][0].pop("name"), "Invalid value for `name`, must not be `None`"),
        (
            lambda pod: pod["containers"][0]["ports"][0].update(containerPort="1"),
            "containerPort: '1' is no int",
        ),
        (lambda pod: pod["containers"][0]["resources"]["limits"].update(memory=2), "memory: 2 is no str"),
        (lambda pod: pod.update(containers={}), "containers: {} is no list"),
    ],
)
def test_a_mistake_in_a_manifest_is_found(change: Callable[[Any], Any], problem: str) -> None:
    deployment = manifest("deployment.yaml")
    change(deployment["spec"]["template"]["spec"])
    (found,) = kubernetes_schema.problems(deployment)
    assert found.endswith(problem)


def test_inference_service_has_known_keys_only() -> None:
    document = manifest("inference-service.yaml", "kserve/base")
    assert kubernetes_schema.inference_service_problems(document) == []
    document["spec"]["predictor"]["model"]["storageURI"] = ""
    (found,) = kubernetes_schema.inference_service_problems(document)
    assert found == "predictor.model.storageURI: V1Container has no such key"


@pytest.fixture(scope="module")
def rendered() -> Callable[[Path], list[dict[str, Any]]]:
    """What kustomize makes of a folder."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: what kustomize makes of the folders is NOT tested")

    def render(folder: Path) -> list[dict[str, Any]]:
        done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return list(yaml.safe_load_all(done.stdout))

    return render


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda p: str(p.relative_to(HERE)))
def test_kustomize_renders_valid_resources_that_mount_the_very_files(
    rendered: Callable[[Path], list[dict[str, Any]]], folder: Path
) -> None:
    documents = rendered(folder)
    for document in documents:
        check = kubernetes_schema.problems
        if document["kind"] == "InferenceService":
            check = kubernetes_schema.inference_service_problems
        assert check(document) == []
    maps = {doc["metadata"]["name"]: doc["data"] for doc in documents if doc["kind"] == "ConfigMap"}
    files = {name: text for data in maps.values() for name, text in data.items()}
    for name, text in files.items():
        (source,) = [path for part in ("config", "proxy") if (path := HERE / part / name).exists()]
        assert text == source.read_text(encoding="utf-8")
    mounted = re.findall(r"'configMap': {'name': '([^']+)'}", str(documents))
    assert sorted(mounted) == sorted(maps)
    assert all(re.fullmatch(r"tf-serving-(config|proxy)-\w{10}", name) for name in maps), (
        "no hash in the name"
    )


def test_kustomize_gives_gpu_pods_a_gpu(rendered: Callable[[Path], list[dict[str, Any]]]) -> None:
    documents = rendered(HERE / "kubernetes" / "gpu")
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    parts = containers(deployment)
    assert parts["tf-serving"]["image"].endswith("-gpu")
    assert parts["tf-serving"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {item["name"]: item["value"] for item in parts["proxy"]["env"]} == {
        "MODEL_NAME": TASK,
        "SERVER_PLACES": "500",
    }
    assert "HorizontalPodAutoscaler" not in {document["kind"] for document in documents}


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_fit_the_compose_specification(name: str) -> None:
    """Against the schema that check-jsonschema brings."""
    package = importlib.util.find_spec("check_jsonschema")
    if package is None or package.origin is None:
        pytest.skip("check-jsonschema is not installed: compose files are NOT checked against their schema")
    path = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    (document,) = read(HERE / name)
    assert [error.message for error in validator.iter_errors(document)] == []
    document["services"]["tf-serving"]["volume"] = []
    (error,) = validator.iter_errors(document)
    assert "'volume' was unexpected" in error.message
