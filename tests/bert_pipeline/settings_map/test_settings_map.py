"""The map of components and settings: equal to the committed page, and true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_pipeline.__main__ import main
from bert_pipeline.components import op_audit
from bert_pipeline.settings_map import page, reruns
from bert_pipeline.settings_map.settings import Setting, all_settings

PAGE = Path(page.__file__).resolve().parents[1] / "MAP.md"


def setting(key: str) -> Setting:
    [found] = [each for each in all_settings() if each.key == key]
    return found


def test_the_committed_page_is_what_the_command_prints() -> None:
    fresh = "python -m bert_pipeline settings > bert_pipeline/MAP.md"
    assert PAGE.read_text(encoding="utf-8") == page.as_markdown(), f"out of date; write it anew: {fresh}"


@pytest.mark.parametrize("each", all_settings(), ids=lambda each: each.key)
def test_every_setting_says_what_it_means(each: Setting) -> None:
    assert len(each.meaning) > 10


@pytest.mark.parametrize(
    ("key", "components"),
    [
        ("training.epochs", ["Trainer"]),
        ("training.warm_start", ["WarmStart", "Trainer"]),
        ("evaluation.gates[].min", ["Evaluator"]),
        ("evaluation.coverage", ["Coverage"]),
        ("bulk_inference.format", ["LabelledTable"]),
        ("data.span", ["ExampleGen"]),
        ("data.label_share_tolerance", ["ExampleValidator"]),
        ("data.hash_buckets", ["ExampleGen", "ExampleValidator"]),
        ("monitoring.watch_drop", []),
        ("notices.on", []),
    ],
)
def test_a_changed_setting_reruns_the_components_that_read_it_and_no_others(
    key: str, components: list[str]
) -> None:
    assert reruns.rerun_by(setting(key)) == components


@pytest.mark.parametrize("each", all_settings(), ids=lambda each: each.key)
def test_no_setting_but_of_data_text_encoder_and_training_retrains(each: Setting) -> None:
    """A bound, a limit or an address that retrains a BERT is the dearest mistake this graph can make."""
    if each.section not in ("data", "text", "encoder", "training", "validation"):
        assert {"Transform", "Trainer"}.isdisjoint(reruns.rerun_by(each)) or each.key == "name"
    if each.section == "validation":
        assert set(reruns.rerun_by(each)) <= {"ExampleValidator", "ServingValidator"}


def test_the_release_of_tf_serving_is_given_to_infra_validator() -> None:
    [node] = [n for n in reruns.graph_of(reruns.TASK) if n.id == "InfraValidator"]
    assert op_audit.release_to_audit("") in node.given


def test_defaults_stand_as_in_a_task_file() -> None:
    defaults = {each.key: each.default for each in all_settings()}
    assert defaults["data.hash_buckets"] == "{ train = 4, eval = 1 }"
    assert defaults["data.label"] == "required"
    assert defaults["evaluation.gates[].min"] == "not set"
    assert defaults["training.freeze_encoder"] == "false"


def test_the_command_needs_no_pythonpath_of_the_shells() -> None:
    """As people type it who copy it from a page, without make."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bert_pipeline", "settings", "max_seq"],
        cwd=PAGE.parents[1], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("text.max_seq_length  (integer, default 128)")


def test_a_word_prints_the_settings_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "max_seq"]) == 0
    assert capsys.readouterr().out == (
        "text.max_seq_length  (integer, default 128)\n"
        "    Tokens, [CLS] and [SEP] counted; at most 512 (Devlin et al. 2018, position embeddings).\n"
    )
    assert main(["settings", "no_such"]) == 2
    assert "no setting has 'no_such' in its key" in capsys.readouterr().err
