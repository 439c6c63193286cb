"""What either stack wrote, this one reads: request logs and converted encoders, kept in tests/data/crossing."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from pathlib import Path

import pytest

from bert_pipeline.components import op_audit
from bert_pipeline.encoders import hf_checkpoint
from bert_pipeline.setup import bootstrap
from tests import crossing

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / "tests/data/crossing"
STACKS = [stack.name for stack in bootstrap.STACKS]


@pytest.fixture(scope="module", params=STACKS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a stack made, unpacked."""
    folder = tmp_path_factory.mktemp("crossing") / request.param
    shutil.unpack_archive(MADE / f"tfx_{request.param}.zip", folder)
    return folder


def test_what_is_kept_was_made_by_that_stack_and_this_converter(made: Path) -> None:
    record = json.loads((made / crossing.MADE_BY).read_text())
    assert record["tfx"].startswith(made.name + ".")
    assert record["converter"] == hf_checkpoint.CONVERTER_VERSION, (
        "the conversion changed: on each stack, python -m tests.crossing make tests/data/crossing/tfx_STACK --zip"
    )


def test_a_request_log_is_read(made: Path) -> None:
    assert crossing.check_log(made) == []


@pytest.mark.parametrize("form", crossing.FORMS)
def test_a_converted_encoder_answers_as_torch_and_trains(made: Path, form: str) -> None:
    assert crossing.check_encoder(made / form) == []


def test_a_log_and_an_encoder_that_differ_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.unpack_archive(MADE / "tfx_1.16.zip", tmp_path)
    log = next(tmp_path.glob("*.tfrecord"))
    log.write_bytes(log.read_bytes()[:-20])
    damage, rows = crossing.check_log(tmp_path)
    assert "is damaged after its first 1 records" in damage
    assert "the request log holds [('order-17'" in rows
    monkeypatch.setattr(crossing, "MOST_APART", 0.0)
    faults = crossing.check_encoder(tmp_path / "padded")
    assert [fault.split(": ")[1].split(" is ")[0] for fault in faults] == ["pooled_output", "sequence_output"]


def differences() -> dict[str, list[str]]:
    """The table of differences, by its first column; "" is its head."""
    text = (ROOT / "bert_pipeline/setup/README.md").read_text(encoding="utf-8")
    table = text.partition("## Two stacks")[2].partition("\n\nSpeed")[0]
    rows = [re.split(r" ?\| ?", line)[1:-1] for line in table.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows}


def test_the_table_of_differences_names_what_holds_each_row() -> None:
    rows = {name: cells for name, cells in differences().items() if name}
    assert {"request logs", "converted encoders", "models, transform graphs"} <= rows.keys()
    for name, cells in rows.items():
        files = re.findall(r"`(tests/[\w/]+\.py)`", cells[-1])
        assert files, f"nothing holds: {name}"
        assert [file for file in files if not (ROOT / file).is_file()] == [], name


def test_the_table_of_differences_is_of_these_stacks() -> None:
    head = differences()[""]
    columns = dict(zip(reversed(STACKS), head, strict=False))
    assert [columns[stack].split(",")[0] for stack in STACKS] == [f"TFX {stack}" for stack in STACKS]
    installed = {
        name: ".".join(importlib.metadata.version(name).split(".")[:2]) for name in ("tfx", "tensorflow")
    }
    assert columns[installed["tfx"]].endswith(f"TensorFlow {installed['tensorflow']}")
    releases = dict(
        zip(reversed(STACKS), differences()["default of `serving.tf_serving_version`"], strict=False)
    )
    for stack, column in columns.items():
        tensorflow = column.rpartition(" ")[2] + ".9"
        assert releases[stack] == op_audit.release_to_audit("", tensorflow=tensorflow)
