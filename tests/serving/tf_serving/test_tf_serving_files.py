"""The configuration for the real TensorFlow Serving is of one mind: names, releases, flags, limits."""

from __future__ import annotations

import re

from bert_pipeline.components import op_audit
from serving.model_server.config import files
from serving.model_server.config import settings as model_settings
from tests.serving.processes import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib
from tests.serving.tf_serving.tf_serving_files import (
    CONFIG,
    HERE,
    SERVER,
    TASK,
    compose,
    containers,
    flags,
    manifest,
)


def test_all_name_the_newest_release_that_models_are_audited_against() -> None:
    """A model of either stack runs on it; see test_op_audit for what the older release has and it has not."""
    version = op_audit.known_versions()[-1]
    for path in sorted((ROOT / "bert_pipeline" / "tasks").glob("*.toml")):
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("serving", {})
        assert "tf_serving_version" not in section, path.name
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
    (settings,) = model_settings.read_settings(
        files.ConfigWatch(str(CONFIG / "models.config"), reload=print).read()
    )
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
    batching = files.read_batching(str(CONFIG / "batching.config"))
    values = flags(SERVER["args"])
    assert (batching.max_batch_size, batching.num_batch_threads) == (16, 2)
    assert SERVER["resources"]["requests"]["cpu"] == values["tensorflow_inter_op_parallelism"] == "2"
    assert values["rest_api_num_threads"] == values["grpc_max_threads"] == "64"
    places = re.findall(r"SERVER_PLACES-(\d+)", (HERE / "proxy" / "haproxy.cfg").read_text(encoding="utf-8"))
    assert places == ["60", "60"], "probes need threads too"


def test_b1_the_gpu_file_is_a_batching_file() -> None:
    assert files.read_batching(str(CONFIG / "batching.gpu.config")).allowed_batch_sizes == (8, 32, 128)


def test_c2_no_file_holds_a_logging_config() -> None:
    """The stock binary does not start on one."""
    config = files.ConfigWatch(str(CONFIG / "models.config"), reload=print).read()
    assert not any(model.HasField("logging_config") for model in config.model_config_list.config)
    for path in CONFIG.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not any("logging_config" in line.split("#")[0] for line in lines), path.name
