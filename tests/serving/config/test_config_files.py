"""TF Serving's configuration files: what they say, and errors that name file, line, key and value."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.model_server.config import files
from serving.model_server.config.files import ConfigError, ConfigWatch, Monitoring
from serving.model_server.config.settings import BatchingParameters, VersionPolicy, read_settings
from serving.model_server.errors import invalid_argument

MODELS = """
model_config_list: {
  config: {
    name: "one",
    base_path: "/models/one",
    model_platform: "tensorflow",  # the only one
    model_version_policy: { specific: { versions: [1, 2] } }
    version_labels { key: 'stable' value: 1 }
    logging_config {
      log_collector_config { type: "tfrecord" filename_prefix: "/logs/one" }
      sampling_config { sampling_rate: 0.1 }
    }
  },
  config: { name: "two" base_path: "/models/two" model_type: TENSORFLOW }
}
"""
PEM = "-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "file").write_text(text)
        return str(tmp_path / "file")

    return write


def test_models_config_in_tf_servings_text_format(write: Callable[[str], str]) -> None:
    """V2, V10, C2: several models, version policies, labels and request logging."""
    one, two = read_settings(files.ConfigWatch(write(MODELS), reload=print).read())
    assert (one.name, one.base_path, one.labels) == ("one", "/models/one", {"stable": 1})
    assert one.policy == VersionPolicy(specific=frozenset({1, 2}))
    assert one.logging is not None
    assert one.logging.log_collector_config.filename_prefix == "/logs/one"
    assert one.logging.sampling_config.sampling_rate == 0.1
    assert (two.name, two.policy, two.logging) == ("two", VersionPolicy(latest=1), None)


def test_b1_batching_file(write: Callable[[str], str]) -> None:
    text = """
    max_batch_size { value: 64 }  batch_timeout_micros { value: 1000 }
    max_enqueued_batches: { value: 7 }  num_batch_threads { value: 2 }
    allowed_batch_sizes: 8  allowed_batch_sizes: 64
    enable_large_batch_splitting { value: true }
    """
    assert files.read_batching(write(text)) == BatchingParameters(
        max_batch_size=64,
        batch_timeout_micros=1000,
        max_enqueued_batches=7,
        num_batch_threads=2,
        allowed_batch_sizes=(8, 64),
        enable_large_batch_splitting=True,
        max_request_rows=64,
    )
    assert files.read_batching(write("")) == BatchingParameters()


def test_b1_pieces_of_a_large_batch_have_the_size_that_the_file_says(write: Callable[[str], str]) -> None:
    text = (
        "max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 16 } allowed_batch_sizes: [4, 16]"
    )
    parameters = files.read_batching(write(text))
    assert (parameters.max_batch_size, parameters.max_request_rows) == (16, 100)


def test_fields_without_effect_are_named_once(
    write: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    path = write('thread_pool_name { value: "pool" } pad_variable_length_inputs: true')
    files.read_batching(path)
    assert f"{path}: without effect here: thread_pool_name, pad_variable_length_inputs" in caplog.text


def test_c3_monitoring_file(write: Callable[[str], str]) -> None:
    read = files.read_monitoring
    assert read(write("prometheus_config { enable: true }")) == Monitoring(
        True, "/monitoring/prometheus/metrics"
    )
    assert read(write('prometheus_config { enable: true path: "/m" }')) == Monitoring(True, "/m")
    assert read(write("")) == Monitoring(False, "/monitoring/prometheus/metrics")


READERS: dict[str, Any] = {
    "models": lambda path: files.ConfigWatch(path, reload=print).read(),
    "batching": files.read_batching,
    "monitoring": files.read_monitoring,
    "ssl": files.read_ssl,
}


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            "models",
            'model_config_list {\n config {\n  name: "a"\n  base_pth: "/m"\n } }',
            '{path}:4: Message type "tensorflow.serving.ModelConfig" has no field named "base_pth". '
            'Did you mean base_path? (in: base_pth: "/m")',
        ),
        ("models", "", "{path}: it names no model; add model_config_list {{ config {{ name: ... }} }}"),
        (
            "batching",
            "max_batch_sise { value: 3 }",
            '{path}:1: Message type "tensorflow.serving.BatchingParameters" has no field named "max_batch_sise". '
            "Did you mean max_batch_size? (in: max_batch_sise {{ value: 3 }})",
        ),
        (
            "batching",
            "max_batch_size { value: many }",
            "{path}:1: Couldn't parse integer: many (in: max_batch_size {{ value: many }})",
        ),
        (
            "batching",
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "{path}: allowed_batch_sizes ends in 4: the last one must be max_batch_size, which is 8",
        ),
        (
            "batching",
            "allowed_batch_sizes: [32, 8]",
            "{path}: allowed_batch_sizes is [32, 8]: give increasing numbers from 1 on",
        ),
        (
            "batching",
            "num_batch_threads { value: 0 }",
            "{path}: num_batch_threads is 0: give 1 or more",
        ),
        (
            "monitoring",
            'prometheus_config { path: "metrics" }',
            '{path}: prometheus_config.path is "metrics"; it must begin with /',
        ),
        (
            "monitoring",
            "qqq: 1",
            '{path}:1: Message type "tensorflow.serving.MonitoringConfig" has no field named "qqq". '
            "It has: prometheus_config. (in: qqq: 1)",
        ),
        (
            "ssl",
            'server_key: "/etc/key.pem"',
            '{path}: server_key is "/etc/key.pem"; give the PEM text itself, -----BEGIN ...',
        ),
        (
            "ssl",
            f'server_key: "{PEM}" server_cert: "{PEM}" client_verify: true',
            "{path}: client_verify is true without custom_ca; add the PEM text of the clients' CA",
        ),
    ],
)
def test_errors_name_file_line_key_and_value(
    write: Callable[[str], str], kind: str, text: str, message: str
) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as error:
        READERS[kind](path)
    assert str(error.value) == message.format(path=path)


@pytest.mark.parametrize("kind", READERS)
def test_unreadable_files_are_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(ConfigError, match=f"{path} cannot be read: No such file or directory"):
        READERS[kind](str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=f"{path} is not UTF-8"):
        READERS[kind](str(path))


def test_v11_bad_file_is_logged_once_and_the_old_configuration_kept(
    write: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    applied: list[list[str]] = []
    refused = [True]

    def reload(config: Any) -> None:
        names = [model.name for model in config.model_config_list.config]
        if names == ["three"] and refused:
            raise invalid_argument("no version of three yet")
        applied.append(names)

    path = write(MODELS)
    watch = ConfigWatch(path, reload=reload)
    watch.read()
    watch.look()
    assert applied == []  # it is what the server began with
    for text in ("model_config_list {", 'model_config_list { config { name: "three" } }'):
        write(text)
        watch.look()
        watch.look()
    assert applied == []
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
        f"{path} is not applied, the old configuration stays"
    ] * 2
    refused.clear()
    watch.look()  # the same text: what kept it from being applied is gone
    watch.look()
    assert applied == [["three"]]
