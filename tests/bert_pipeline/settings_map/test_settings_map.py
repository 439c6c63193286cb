"""The map of components and settings: equal to the committed page, and true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tfx.dsl.components.base.base_component import BaseComponent

from bert_pipeline import pipeline
from bert_pipeline.__main__ import main
from bert_pipeline.components import op_audit
from bert_pipeline.settings import config
from bert_pipeline.settings_map import page, reruns
from bert_pipeline.settings_map.settings import Setting, all_settings

PAGE = Path(page.__file__).resolve().parents[1] / "MAP.md"


def test_the_committed_page_is_what_the_command_prints() -> None:
    fresh = "python -m bert_pipeline settings > bert_pipeline/MAP.md"
    assert PAGE.read_text(encoding="utf-8") == page.as_markdown(), f"out of date: {fresh}"


@pytest.mark.parametrize("each", all_settings(), ids=lambda each: each.key)
def test_every_setting_says_what_it_means(each: Setting) -> None:
    assert len(each.meaning) > 10


DATA = "ExampleGen StatisticsGen ExampleValidator Transform Trainer Evaluator InfraValidator Pusher Coverage"
LABELLED = "BulkInferrer LabelledTable"
JUDGED = f"Evaluator Pusher {LABELLED}"
TRAINED = f"Trainer Evaluator InfraValidator Pusher {LABELLED}"
CHECKED = "ExampleValidator Transform"
# What a change reruns, with all that follows; a key that is not here has what its section has.
RERUNS = {
    "name": "Pusher",  # and everything else: another name is another pipeline, in another folder
    "description": "",
    "data.path": f"{DATA} UnlabelledExampleGen ServingValidator {LABELLED}",
    "data.text": f"StatisticsGen {CHECKED} {TRAINED} ServingValidator",
    "data.label": f"{CHECKED} {TRAINED} ServingValidator",
    "data.labels": f"{CHECKED} {TRAINED}",
    "data.files": f"{DATA} ServingValidator {LABELLED}",
    "data.hash_buckets": f"{DATA} ServingValidator {LABELLED}",
    "data.span": f"{DATA} ServingValidator {LABELLED}",
    "data.window": f"OlderSpans Transform {TRAINED} Coverage",
    "data.format": "ExampleValidator",
    "data.label_shares": "ExampleValidator",
    "data.label_share_tolerance": "ExampleValidator",
    "validation.drift_note": "ExampleValidator",
    "validation.drift_stop": "ExampleValidator",
    "validation.skew_note": "ServingValidator",
    "validation.skew_stop": "ServingValidator",
    "text": f"StatisticsGen {CHECKED} {TRAINED} ServingValidator",
    "encoder": f"StatisticsGen {CHECKED} {TRAINED} ServingValidator",
    "encoder.pooling": TRAINED,
    "training": TRAINED,
    "training.warm_start": f"WarmStart {TRAINED}",
    "export": TRAINED,
    "evaluation": JUDGED,
    "evaluation.slices": f"ExampleValidator {JUDGED} Coverage ServingValidator",
    "evaluation.cost_unit": "",
    "evaluation.coverage": "Coverage",
    "serving": "InfraValidator Pusher",
    "bulk_inference.files": f"UnlabelledExampleGen ServingValidator {LABELLED}",
    "bulk_inference.format": "LabelledTable",
    "monitoring": "",
    "notices": "",
    "report": "",
}


@pytest.mark.parametrize("each", all_settings(), ids=lambda each: each.key)
def test_a_changed_setting_reruns_what_it_is_given_to_and_what_follows(each: Setting) -> None:
    """By the cache keys of TFX: a bound or an address that retrains a BERT is the costliest mistake of a graph."""
    key = each.key.partition("[]")[0]
    expected = RERUNS[key if key in RERUNS else each.section]
    assert set(reruns.rerun_by(each, follow=True)) == set(expected.split())


def test_an_edited_task_file_of_the_same_settings_reruns_nothing(tmp_path: Path) -> None:
    text = (config.TASKS_DIR / "toy.toml").read_text(encoding="utf-8")
    edited = tmp_path / "toy.toml"
    edited.write_text("# A remark.\n" + text.replace("epochs = 12", "epochs   = 12"), encoding="utf-8")

    def keys(name: str) -> dict[str, str]:
        return reruns.cache_keys(reruns.components_of(config.task_settings(name)))

    assert keys(str(edited)) == keys("toy")


def test_an_edited_docstring_in_modules_reruns_transform_and_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is why settings that no worker reads are elsewhere."""
    modules = shutil.copytree(pipeline.MODULES_DIR, tmp_path / "modules")
    monkeypatch.setattr(pipeline, "MODULES_DIR", modules)

    def keys() -> dict[str, str]:
        components = reruns.components_of(reruns.TASK)
        for component in components:
            if isinstance(component, BaseComponent):
                component._resolve_pip_dependencies(str(tmp_path))  # packs the folder, as TFX's runners do
        return reruns.cache_keys(components, follow=True)

    before = keys()
    settings = modules / "bert_task.py"
    settings.write_text(
        settings.read_text(encoding="utf-8").replace("Passes over", "Epochs over"), encoding="utf-8"
    )
    after = keys()
    assert {name for name in after if after[name] != before[name]} == set(f"Transform {TRAINED}".split())


def test_the_release_of_tf_serving_is_given_to_infra_validator() -> None:
    [node] = [n for n in reruns.components_of(reruns.TASK) if n.id == "InfraValidator"]
    assert op_audit.release_to_audit("") in str(node.exec_properties)


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
