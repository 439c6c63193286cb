"""The flags and files of the real TensorFlow Serving are taken by the embedded server as well."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from serving.model_server.config import files
from tests.serving.calls import rest
from tests.serving.contract.toy import save_toy
from tests.serving.processes import RunningServer, serving
from tests.serving.tf_serving.tf_serving_files import CONFIG, SERVER, TASK, compose, manifest


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
    assert files.read_monitoring(str(CONFIG / "monitoring.config")).path == notes["prometheus.io/path"]
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
    files.read_ssl(str(tmp_path / "my-ssl.config"))
    message = files.parse(
        (tmp_path / "my-ssl.config").read_text(), files._CLASSES["SSLConfig"](), path="my-ssl.config"
    )
    load_pem_private_key(message.server_key.encode(), password=None)
    assert message.server_key == (tmp_path / "key.pem").read_text()
    assert message.server_cert == (tmp_path / "cert.pem").read_text()
