"""The files of serving/tf_serving, read: manifests, compose files, and the server's container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.serving.processes import ROOT

HERE = ROOT / "serving" / "tf_serving"
CONFIG = HERE / "config"
TASK = "shoes"


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
