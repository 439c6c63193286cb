"""The Pusher: whole versions or none, never twice, and never without both blessings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import channel_utils, standard_artifacts
from tfx.utils import proto_utils

from bert_pipeline.components import pusher
from bert_pipeline.serving_folder import atomic_push
from bert_pipeline.settings.config import PROJECT_ROOT
from bert_pipeline.settings.errors import UserError


def write_model(folder: Path, *, weights: bytes = b"weights") -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(weights)
    return folder


class Run:
    """One run of the executor over artifacts in a folder."""

    def __init__(self, folder: Path, *, weights: bytes = b"weights") -> None:
        self.base_dir = folder.parent / "serving"
        self.model = standard_artifacts.Model()
        self.model.uri = str(folder / "model")
        self.model.id = 12
        write_model(Path(self.model.uri) / "Format-Serving", weights=weights)
        self.infra = standard_artifacts.InfraBlessing()
        self.infra.uri = str(folder / "infra")
        stamped = Path(self.infra.uri) / "stamped_model"
        write_model(stamped, weights=weights)
        (stamped / "assets.extra").mkdir()
        (stamped / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
        self.infra.set_int_custom_property("blessed", 1)
        self.infra.set_int_custom_property("has_model", 1)
        self.blessing = standard_artifacts.ModelBlessing()
        self.blessing.uri = str(folder / "blessing")
        self.blessing.set_int_custom_property("blessed", 1)
        self.pushed = standard_artifacts.PushedModel()
        self.pushed.uri = str(folder / "pushed")
        self.inputs = {
            "model": [self.model],
            "model_blessing": [self.blessing],
            "infra_blessing": [self.infra],
        }

    def do(self, base_dir: str = "") -> Any:
        filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=base_dir or str(self.base_dir))
        destination = pusher_pb2.PushDestination(filesystem=filesystem)
        properties = {"push_destination": proto_utils.proto_to_json(destination)}
        pusher.Executor().Do(self.inputs, {"pushed_model": [self.pushed]}, properties)
        return self.pushed

    def versions(self) -> list[str]:
        return sorted(path.name for path in self.base_dir.iterdir()) if self.base_dir.exists() else []


def test_pushes_the_copy_that_has_the_warmup_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1700000000.9)
    run = Run(tmp_path / "run")
    pushed = run.do()
    assert run.versions() == ["1700000000"]
    version = run.base_dir / "1700000000"
    files = sorted(str(p.relative_to(version)) for p in version.rglob("*") if p.is_file())
    assert files == [
        "assets.extra/provenance.json",
        "assets.extra/tf_serving_warmup_requests",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
    ]
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == "1700000000"
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("reason") == "pushed as version 1700000000"
    assert pushed.get_int_custom_property("in_service") == 1


def test_model_without_warmup_copy_is_pushed_itself(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.infra.set_int_custom_property("has_model", 0)
    run.do()
    (version,) = run.versions()
    extra = run.base_dir / version / "assets.extra"
    assert [path.name for path in extra.iterdir()] == ["provenance.json"]
    assert list(json.loads((extra / "provenance.json").read_text())) == ["pushed", "model artifact"]
    assert (run.base_dir / version / "saved_model.pb").read_bytes() == b"graph"


def test_model_in_service_is_not_pushed_again(tmp_path: Path) -> None:
    first = Run(tmp_path / "first")
    version = first.do().get_string_custom_property("pushed_version")
    second = Run(tmp_path / "second")
    (Path(second.infra.uri) / "stamped_model/assets.extra/tf_serving_warmup_requests").write_bytes(b"others")
    pushed = second.do()
    assert second.versions() == [version]
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_int_custom_property("in_service") == 1
    assert pushed.get_string_custom_property("pushed_version") == version
    assert pushed.get_string_custom_property("reason") == (
        f"not pushed: it is in service already, as version {version}"
    )


def test_other_weights_are_pushed_and_so_is_the_model_before_last(tmp_path: Path) -> None:
    for name, weights in (("a", b"weights"), ("b", b"WEIGHTS"), ("c", b"weights")):
        assert Run(tmp_path / name, weights=weights).do().get_int_custom_property("pushed") == 1
    assert len(list((tmp_path / "serving").iterdir())) == 3


def test_version_rises_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 2000.0)
    Run(tmp_path / "a", weights=b"a").do()
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    Run(tmp_path / "b", weights=b"b").do()
    assert sorted(path.name for path in (tmp_path / "serving").iterdir()) == ["2000", "2001"]


@pytest.mark.parametrize("key", ["model_blessing", "infra_blessing"])
def test_nothing_is_pushed_without_both_blessings(key: str, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.inputs[key][0].set_int_custom_property("blessed", 0)
    pushed = run.do()
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_int_custom_property("in_service") == 0
    who = {"model_blessing": "the Evaluator", "infra_blessing": "the InfraValidator"}[key]
    assert pushed.get_string_custom_property("reason") == f"not pushed: {who} did not bless the model"
    del run.inputs[key]
    assert run.do().get_string_custom_property("reason") == f"not pushed: {who} gave no blessing"
    assert run.versions() == []


def test_infra_validators_reason_is_passed_on(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.infra.set_int_custom_property("blessed", 0)
    run.infra.set_string_custom_property("reason", "refused: the server did not load it: no op Foo")
    assert run.do().get_string_custom_property("reason") == (
        "not pushed: the InfraValidator refused: the server did not load it: no op Foo"
    )


def test_remote_destination_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="push_destination: 'gs://bucket/serving' has no atomic rename"):
        Run(tmp_path / "run").do("gs://bucket/serving")


def test_killed_push_leaves_no_version_and_the_next_one_succeeds(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    source, base_dir = Path(run.infra.uri) / "stamped_model", run.base_dir
    script = (
        "import pathlib, time\n"
        "from bert_pipeline.serving_folder import atomic_push as pusher\n"
        "copy = pusher._copy_file\n"
        "def slow(source, destination):\n"
        "    copy(source, destination)\n"
        f"    pathlib.Path({str(tmp_path / 'copied')!r}).touch()\n"
        "    time.sleep(60)\n"
        "pusher._copy_file = slow\n"
        f"pusher.push(pathlib.Path({str(source)!r}), base_dir=pathlib.Path({str(base_dir)!r}))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "modules")]),
    }
    command = [sys.executable, "-W", "ignore", "-c", script]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "copied").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    (leftover,) = run.versions()
    assert leftover.startswith(".")
    assert leftover.endswith(".incomplete")
    assert atomic_push.newest_version(base_dir) is None
    assert run.do().get_int_custom_property("pushed") == 1
    (version,) = run.versions()
    assert version.isdigit()
    assert atomic_push.fingerprint(base_dir / version) == atomic_push.fingerprint(source)


def test_component_takes_the_stock_arguments() -> None:
    component = pusher.AtomicPusher(
        model=channel_utils.as_channel([standard_artifacts.Model()]),
        model_blessing=channel_utils.as_channel([standard_artifacts.ModelBlessing()]),
        infra_blessing=channel_utils.as_channel([standard_artifacts.InfraBlessing()]),
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory="/serving")
        ),
    )
    assert component.id == "AtomicPusher"
    assert isinstance(component.executor_spec, executor_spec.ExecutorClassSpec)
    assert component.executor_spec.executor_class is pusher.Executor
