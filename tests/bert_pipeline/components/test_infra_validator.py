"""The InfraValidator against good and broken SavedModels, in real server processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bert_task
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx.dsl.components.base import base_executor
from tfx.types import channel_utils, standard_artifacts

from bert_pipeline.components import infra_executor, op_audit, server_process
from bert_pipeline.components.infra_validator import infra_validator
from bert_pipeline.settings import sections
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.length_model import LABELS, save_toy

TEXTS = ("good shoes", "bad sole, and a very long text about it", "")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Raw Examples with an eval split of three."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = '["train", "eval"]'
    folder = Path(artifact.uri) / "Split-eval"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.gz"), options="GZIP") as writer:
        for text in TEXTS:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
            example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
            writer.write(example.SerializeToString())
    return artifact


def component(num_warmup_requests: int = 4, **kwargs: Any) -> Any:
    data = bert_task.DataConfig(path="", text=("text",), label="label", labels=LABELS, files={})
    return infra_validator(
        model=channel_utils.as_channel([standard_artifacts.Model()]),
        examples=channel_utils.as_channel([standard_artifacts.Examples()]),
        data=data,
        serving=sections.ServingConfig(num_warmup_requests=num_warmup_requests),
        **kwargs,
    )


def validate(model_dir: Path, examples: Any, out: Path, **kwargs: Any) -> Any:
    """Runs the executor as a runner does; returns the InfraBlessing."""
    model, blessing = standard_artifacts.Model(), standard_artifacts.InfraBlessing()
    model.uri, blessing.uri = str(model_dir), str(out / "blessing")
    Path(blessing.uri).mkdir(parents=True)
    properties = dict(component(**kwargs).spec.exec_properties)
    context = base_executor.BaseExecutor.Context(tmp_dir=str(out / "tmp"), unique_id="1")
    executor = infra_executor.Executor(context)
    executor.Do({"model": [model], "examples": [examples]}, {"blessing": [blessing]}, properties)
    return blessing


def reason(blessing: Any) -> str:
    text = (Path(blessing.uri) / "reason.txt").read_text()
    assert text == blessing.get_string_custom_property("reason") + "\n"
    return text.strip()


def server_processes() -> list[str]:
    """Command lines of the servers of this test run that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "serving.model_server" in line and "--exit_with_stdin" in line:
            found.append(line)
    return found


def test_good_model_is_blessed_and_carries_its_warmup_requests(examples: Any, tmp_path: Path) -> None:
    blessing = validate(save_toy(tmp_path / "model"), examples, tmp_path / "out")
    assert reason(blessing) == "a server loaded it and answered 4 requests"
    assert blessing.get_int_custom_property("blessed") == 1
    assert (Path(blessing.uri) / "INFRA_BLESSED").exists()
    assert blessing.get_int_custom_property("has_model") == 1
    (warmup,) = Path(blessing.uri).rglob("assets.extra/tf_serving_warmup_requests")
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(warmup)).as_numpy_iterator()
    ]
    requests = [log.predict_log.request for log in logs]
    names = [request.model_spec.signature_name for request in requests]
    assert names == ["serving_default", "serve_examples", "serving_default", "serve_examples"]
    assert list(requests[0].inputs["text"].string_val) == [text.encode() for text in TEXTS]
    assert list(requests[2].inputs["text"].string_val) == [b"good shoes"]
    assert not server_processes_of(tmp_path)


def server_processes_of(folder: Path) -> list[str]:
    return [line for line in server_processes() if str(folder) in line]


def test_model_that_fails_on_a_request_is_refused_with_the_servers_words(
    examples: Any, tmp_path: Path
) -> None:
    blessing = validate(save_toy(tmp_path / "model", breakage="raises"), examples, tmp_path / "out")
    assert reason(blessing).startswith("refused: serve_examples answered INVALID_ARGUMENT: ")
    assert "Could not parse example input" in reason(blessing)
    assert "\n" not in reason(blessing)
    assert blessing.get_int_custom_property("blessed") == 0
    assert (Path(blessing.uri) / "INFRA_NOT_BLESSED").exists()
    assert not list(Path(blessing.uri).rglob("saved_model.pb"))
    assert not server_processes_of(tmp_path)


def test_op_that_tf_serving_lacks_is_refused_before_a_server_starts(
    examples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(op_audit, "missing_ops", lambda *_, **__: ["TFText>RoundRobinTrim"])
    assert reason(validate(save_toy(tmp_path / "model"), examples, tmp_path / "out")) == (
        "refused: the exported graph uses TFText>RoundRobinTrim, "
        f"which TensorFlow Serving {op_audit.release_to_audit('')} does not have"
    )


def test_missing_signature_is_refused_before_a_server_starts(examples: Any, tmp_path: Path) -> None:
    blessing = validate(
        save_toy(tmp_path / "model", breakage="missing_signature"), examples, tmp_path / "out"
    )
    assert reason(blessing) == (
        "refused: the model has no signature serve_examples; it has __saved_model_init_op, serving_default"
    )


def test_damaged_saved_model_is_refused(examples: Any, tmp_path: Path) -> None:
    model_dir = save_toy(tmp_path / "model")
    path = model_dir / "Format-Serving" / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:1000])
    assert reason(validate(model_dir, examples, tmp_path / "a")).startswith(
        "refused: saved_model.pb is damaged: "
    )
    path.unlink()
    assert reason(validate(model_dir, examples, tmp_path / "b")) == (
        "refused: saved_model.pb cannot be read: No such file or directory"
    )


def test_server_that_takes_too_long_is_killed_and_the_model_refused(examples: Any, tmp_path: Path) -> None:
    blessing = validate(save_toy(tmp_path / "model"), examples, tmp_path / "out", max_loading_seconds=1)
    assert reason(blessing).startswith("refused: the server did not load it within 1 s: ")
    assert not server_processes_of(tmp_path)


def test_server_that_cannot_start_says_nothing_about_the_model(
    examples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "_SERVER_MODULE", "no_such_server")
    with pytest.raises(UserError, match="the server ended with status 1: .*No module named no_such_server"):
        validate(save_toy(tmp_path / "model"), examples, tmp_path / "out")
    assert not list((tmp_path / "out" / "blessing").iterdir())


def test_docker_without_an_engine_is_refused_by_name(
    examples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra_executor, "docker_is_at_hand", lambda: False)
    with pytest.raises(UserError, match="no docker engine answers `docker info`"):
        validate(save_toy(tmp_path / "model"), examples, tmp_path / "out", server="docker")


def test_unknown_tf_serving_release_is_refused_when_the_graph_is_built() -> None:
    with pytest.raises(UserError, match=r"no op list for '1\.0'; known: 2\.16\.1, 2\.20\.0"):
        infra_validator(
            model=channel_utils.as_channel([standard_artifacts.Model()]),
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            data=bert_task.DataConfig(path="", text=("text",), label="label", labels=LABELS, files={}),
            serving=sections.ServingConfig(tf_serving_version="1.0"),
        )


def test_docker_setting_names_the_image_of_the_release() -> None:
    spec = component(server="docker").spec.exec_properties["serving_spec"]
    assert json.loads(spec) == {
        "model_name": "candidate",
        "local_docker": {},
        "tensorflow_serving": {"image_name": "tensorflow/serving", "tags": [op_audit.release_to_audit("")]},
    }
