"""Versions of the toy for servers of our own: small ones, spoilt ones, and a models.config that serves them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server.config.settings import BatchingParameters
from serving.model_server.models.servable import Servable
from tests.serving.calls import predict_request
from tests.serving.contract.toy import save_toy

SMALL = ("serving_default", "arithmetic")


def add(base: Path, version: int, **more: Any) -> Path:
    """A small toy; it answers with its version."""
    return save_toy(base / str(version), offset=float(version), signatures=SMALL, **more)


def write_warmup(folder: Path, *records: bytes) -> Path:
    """Gives a version warm-up requests: PredictionLogs, or what is none."""
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)
    return folder


def has_warm_up_that_fails(folder: Path) -> None:
    request = predict_request("arithmetic", x=[[1.0]])
    log = prediction_log_pb2.PredictionLog(predict_log={"request": request})
    write_warmup(folder, log.SerializeToString())


def has_other_bytes_in_its_variables(folder: Path) -> None:
    path = folder / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def has_no_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def has_half_a_graph(folder: Path) -> None:
    path = folder / "saved_model.pb"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_config(folder: Path, *names: str) -> Path:
    """Of models that lie in folders of their names."""
    entry = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" }}'
    path = folder / "models.config"
    text = " ".join(entry.format(name, folder) for name in names)
    (folder / "new.config").write_text(f"model_config_list {{ {text} }}")
    (folder / "new.config").rename(path)
    return path


def load(path: Path, *, batching: BatchingParameters | None = None) -> Servable:
    return Servable(str(path), name="toy", version=1, batching=batching)
