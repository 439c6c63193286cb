"""Configurations of several models, and asking a manager for one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.errors import ServingError
from serving.model_server.models.manager import Manager

Config = model_server_config_pb2.ModelServerConfig


def configure(folder: Path, *models: str) -> Config:
    """Of lines like `name: "a" ...`; the base path is the folder of that name unless the line has one."""
    config = Config(model_config_list={})
    for text in models:
        model = config.model_config_list.config.add(model_platform="tensorflow")
        text_format.Merge(text, model)
        model.base_path = model.base_path or str(folder / model.name)
    return config


def spec(name: str, *, version: int | None = None, label: str = "") -> model_pb2.ModelSpec:
    made = model_pb2.ModelSpec(name=name)
    if version is not None:
        made.version.value = version
    if label:
        made.version_label = label
    return made


def served(manager: Manager, name: str, **choice: object) -> int:
    with manager.use(spec(name, **choice)) as servable:  # type: ignore[arg-type]
        assert servable.name == name
        return servable.version


def refusal(call: Callable[..., object], *arguments: object) -> tuple[str, str]:
    with pytest.raises(ServingError) as error:
        call(*arguments)
    return error.value.code.name, error.value.message
