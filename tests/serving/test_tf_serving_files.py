"""The configuration for the real TensorFlow Serving: valid, of one mind, and taken by the embedded server as well."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bert_task
import jsonschema
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bert_pipeline.components import op_audit
from serving.model_server import config_files, model_settings
from tests.serving import kubernetes_schema
from tests.serving.calls import rest
from tests.serving.contract.models import save_toy
from tests.serving.processes import ROOT, RunningServer, serving

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

HERE = ROOT / "serving" / "tf_serving"
CONFIG = HERE / "config"
TASK = "shoes"
MANIFESTS = sorted((HERE / "kubernetes" / "base").glob("*.yaml"))
OVERLAYS = sorted(path.parent for path in HERE.glob("*/*/kustomization.yaml"))


def read(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def interpolate(value: Any) -> Any:
    """Puts defaults in place of `${NAME:-default}`, as docker compose does where the environment is empty."""
    if isinstance(value, dict):
        return {key: interpolate(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value).replace("$$", "$")
    return value


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(interpolate(read(HERE / name)[0]["services"]))


def manifest(name: str, folder: str = "kubernetes/base") -> dict[str, Any]:
    return read(HERE / folder / name)[0]


def containers(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in deployment["spec"]["template"]["spec"]["containers"]}


def flags(arguments: list[str]) -> dict[str, str]:
    """Value by name."""
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


SERVER = containers(manifest("deployment.yaml"))["tf-serving"]


# --- valid ---


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


# --- of one mind ---


def test_all_name_the_release_that_models_are_audited_against() -> None:
    version = bert_task.ServingConfig().tf_serving_version
    assert version in op_audit.known_versions()
    for path in sorted((ROOT / "bert_pipeline" / "tasks").glob("*.toml")):
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("serving", {})
        assert section.get("tf_serving_version", version) == version, path.name
    image = f"tensorflow/serving:{version}"
    inference = manifest("inference-service.yaml", "kserve/base")["spec"]["predictor"]["model"]
    patch = manifest("inference-service-patch.yaml", "kserve/gpu")["spec"]["predictor"]["model"]
    assert compose()["tf-serving"]["image"] == SERVER["image"] == image
    assert compose("compose.gpu.yaml")["tf-serving"]["image"] == f"{image}-gpu"
    assert inference["runtimeVersion"] == version
    assert patch["runtimeVersion"] == f"{version}-gpu"
    assert manifest("kustomization.yaml", "kubernetes/gpu")["images"] == [
        {"name": "tensorflow/serving", "newTag": f"{version}-gpu"}
    ]
    text = "".join(path.read_text(encoding="utf-8") for path in HERE.rglob("*") if path.is_file())
    assert set(re.findall(r"tensorflow/serving:([\d.]+\d)", text)) == {version}


def test_compose_and_kubernetes_run_the_server_alike() -> None:
    service = compose()["tf-serving"]
    ours, theirs = flags(service["command"]), flags(SERVER["args"])
    assert {key: ours.pop(key) for key in ("model_name", "model_base_path", "model_config_file")} == {
        "model_name": TASK,
        "model_base_path": f"/models/{TASK}",
        "model_config_file": "",
    }
    assert theirs.pop("model_config_file") == "/etc/tf_serving/models.config"
    assert ours == theirs
    assert service["entrypoint"] == SERVER["command"]
    assert compose()["proxy"]["image"] == containers(manifest("deployment.yaml"))["proxy"]["image"]


def test_gpu_servers_run_alike() -> None:
    assert compose("compose.gpu.yaml")["proxy"]["environment"] == {"SERVER_PLACES": "500"}
    ours = flags(compose("compose.gpu.yaml")["tf-serving"]["command"])
    patch = containers(manifest("deployment-patch.yaml", "kubernetes/gpu"))["tf-serving"]
    theirs = flags(patch["args"])
    assert {k: v for k, v in ours.items() if not k.startswith("model_")} == {
        k: v for k, v in theirs.items() if not k.startswith("model_")
    }


def test_the_model_has_one_name() -> None:
    (settings,) = model_settings.read_settings(config_files.read_models(str(CONFIG / "models.config")))
    proxy = containers(manifest("deployment.yaml"))["proxy"]
    assert (settings.name, settings.base_path) == (TASK, f"/models/{TASK}")
    assert proxy["env"] == [{"name": "MODEL_NAME", "value": TASK}]
    assert SERVER["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{TASK}/metadata"
    assert manifest("inference-service.yaml", "kserve/base")["metadata"]["name"] == TASK
    assert compose()["proxy"]["environment"]["MODEL_NAME"] == TASK


def test_the_server_outlives_the_proxy_that_drains() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    sleeps = {
        name: int(part["lifecycle"]["preStop"]["exec"]["command"][1])
        for name, part in containers(manifest("deployment.yaml")).items()
    }
    proxy = (HERE / "proxy" / "haproxy.cfg").read_text(encoding="utf-8")
    longest = int(re.findall(r"hard-stop-after (\d+)s", proxy)[0])
    assert sleeps["proxy"] + longest < sleeps["tf-serving"] < pod["terminationGracePeriodSeconds"]
    assert int(compose()["proxy"]["stop_grace_period"].removesuffix("s")) > longest
    assert compose()["proxy"]["stop_signal"] == "SIGUSR1"


def test_b1_batches_processors_and_threads_fit_each_other() -> None:
    batching = config_files.read_batching(str(CONFIG / "batching.config"))
    values = flags(SERVER["args"])
    assert (batching.max_batch_size, batching.num_batch_threads) == (16, 2)
    assert SERVER["resources"]["requests"]["cpu"] == values["tensorflow_inter_op_parallelism"] == "2"
    assert values["rest_api_num_threads"] == values["grpc_max_threads"] == "64"
    places = re.findall(r"SERVER_PLACES-(\d+)", (HERE / "proxy" / "haproxy.cfg").read_text(encoding="utf-8"))
    assert places == ["60", "60"], "probes need threads too"


def test_b1_the_gpu_file_is_a_batching_file() -> None:
    assert config_files.read_batching(str(CONFIG / "batching.gpu.config")).allowed_batch_sizes == (8, 32, 128)


def test_c2_no_file_holds_a_logging_config() -> None:
    """The stock binary does not start on one."""
    config = config_files.read_models(str(CONFIG / "models.config"))
    assert not any(model.HasField("logging_config") for model in config.model_config_list.config)
    for path in CONFIG.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not any("logging_config" in line.split("#")[0] for line in lines), path.name


# --- taken by the embedded server ---


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The embedded server with the flags and the files of Kubernetes; paths of containers are here below `tmp`."""
    if request.config.getoption("--serving-address"):
        pytest.skip("starts a server of its own")
    tmp = tmp_path_factory.mktemp("pod")
    shutil.copytree(CONFIG, tmp / "etc")
    models_config = tmp / "etc" / "models.config"
    text = models_config.read_text(encoding="utf-8")
    models_config.write_text(text.replace('"/models/', f'"{tmp}/models/'), encoding="utf-8")
    (tmp / "models" / TASK).mkdir(parents=True)
    save_toy(tmp / "models" / TASK / "1")
    arguments = [
        argument.replace("/etc/tf_serving", str(tmp / "etc"))
        for argument in SERVER["args"]
        if not argument.startswith(("--port=", "--rest_api_port="))
    ]
    with serving(tmp, *arguments) as running:
        yield running


def test_the_embedded_server_starts_from_the_same_flags_and_files(server: RunningServer) -> None:
    status, answer = rest(server, f"/v1/models/{TASK}:predict", {"instances": ["a long text"]})
    assert (status, answer["predictions"][0]["label"]) == (200, "long")


def test_c3_metrics_are_where_the_scrape_annotations_say(server: RunningServer) -> None:
    notes = manifest("deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    ports = {port["name"]: str(port["containerPort"]) for port in SERVER["ports"]}
    assert notes["prometheus.io/port"] == ports["rest"]
    assert config_files.read_monitoring(str(CONFIG / "monitoring.config")).path == notes["prometheus.io/path"]
    status, text = rest(server, notes["prometheus.io/path"])
    assert status == 200
    assert ":tensorflow:serving:request_count" in text


def test_the_health_check_of_compose_tells_a_loaded_model_from_another(server: RunningServer) -> None:
    kind, *command = compose()["tf-serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    command = [part.replace("127.0.0.1/8501", f"127.0.0.1/{server.rest_port}") for part in command]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0
    other = [part.replace(f"models/{TASK}", "models/other") for part in command]
    assert subprocess.run(other, timeout=30, check=False).returncode == 1
    nobody = [part.replace(f"127.0.0.1/{server.rest_port}", "127.0.0.1/1") for part in command]
    assert subprocess.run(nobody, timeout=30, check=False, stderr=subprocess.DEVNULL).returncode == 1


def test_c1_the_recipe_of_the_ssl_file_makes_one_that_is_accepted(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: the recipe of ssl.config is NOT tested")
    text = (CONFIG / "ssl.config").read_text(encoding="utf-8")
    recipe = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost -days 1"
    )
    script = "\n".join(["set -e", f"{make} 2>/dev/null", *recipe])
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C"})
    config_files.read_ssl(str(tmp_path / "my-ssl.config"))
    message = config_files.parse(
        (tmp_path / "my-ssl.config").read_text(), config_files.new_message("SSLConfig"), path="my-ssl.config"
    )
    load_pem_private_key(message.server_key.encode(), password=None)
    assert message.server_key == (tmp_path / "key.pem").read_text()
    assert message.server_cert == (tmp_path / "cert.pem").read_text()
