"""Lineage: what made a model, which models a span made, as text, JSON and a picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bert_pipeline.past import Past


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "out")


def test_version_in_service_leads_to_span_settings_and_metrics(past, capsys):
    first, _ = past.run(span=1, weights="a")
    model, version = past.run(span=2, weights="b", epochs=7, accuracy=0.95, baseline=first)
    assert past.verb("lineage") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"version {version} of toy, in service\n")
    assert f"  model       {model}  {past.paths.pipeline_root}/Trainer/model/" in text
    assert "  spans       span 2\n" in text
    assert "training.epochs=7" in text
    assert f"  baseline    {first}  " in text
    assert "all data        0.950     0.940\n" in text
    assert "part=heel       0.850         -\n" in text


def test_a_look_at_live_traffic_is_not_taken_for_the_evaluation(past, capsys):
    model, _ = past.run(span=1, weights="a")
    live = past.execute("", "LiveExamples", {}, {"examples": "Examples"}, span=0)["examples"]
    read = {"examples": [live], "model": [model]}
    past.execute("", "LiveEvaluator", read, {"evaluation": "ModelEvaluation"})
    assert past.verb("lineage") == 0
    text = capsys.readouterr().out
    assert "  evaluated   on span 1\n" in text
    assert "all data        0.900     0.890\n" in text


def test_an_evaluation_that_failed_does_not_hide_the_one_before(past, capsys):
    model, _ = past.run(span=1, weights="a")
    past.execute("", "Evaluator", {"model": [model]}, {})
    assert past.verb("lineage") == 0
    assert "  evaluated   on span 1\n" in capsys.readouterr().out


def test_version_before_is_found_by_its_number_and_as_json(past, capsys):
    model, version = past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    assert past.verb("lineage", str(version), "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"]["artifact"], found["in_service"], found["versions"]) == (
        model,
        False,
        [str(version)],
    )
    assert [example["span"] for example in found["examples"]] == [1]
    assert found["run"]["number"] == 1
    assert found["run"]["settings"]["training.epochs"] == 3
    assert found["metrics"]["all data"]["accuracy"] == 0.9


def test_models_of_a_span_are_listed_with_their_versions(past, capsys):
    past.run(span=1, weights="a")
    refused, _ = past.run(span=2, weights="b", push=False)
    model, version = past.run(span=2, weights="c")
    assert past.verb("lineage", "--span", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "2 models of toy learned from span 2",
        f"  model {refused:<6} run 2    spans 2  never pushed",
        f"  model {model:<6} run 3    spans 2  version {version}  in service",
    ]


def test_spans_by_date_are_shown_and_asked_for_by_date(past, capsys):
    model, version = past.run(span=20270, weights="a", files="{YYYY}-{MM}-{DD}/rows.csv")
    assert past.verb("lineage", "--span", "2025-07-01") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 model of toy learned from span 2025-07-01",
        f"  model {model:<6} run 1    spans 2025-07-01  version {version}  in service",
    ]
    assert past.verb("lineage", "--span", "2025-07-02") == 2
    message = "--span is 2025-07-02, and no run of toy has read it; spans read: 2025-07-01"
    assert message in capsys.readouterr().err
    assert past.verb("lineage") == 0
    assert "  spans       span 2025-07-01\n" in capsys.readouterr().out
    past.verb("lineage", "--format", "mermaid")
    assert "span 2025-07-01" in capsys.readouterr().out


def test_version_that_was_removed_is_still_told(past, capsys):
    _, one = past.run(span=1, weights="a")
    past.run(span=2, weights="b")
    past.verb("gc", "--keep", "1", "--yes")
    capsys.readouterr()
    assert past.verb("lineage", str(one)) == 0
    assert f" of toy, was version {one}, removed since\n" in capsys.readouterr().out
    past.verb("lineage", "--span", "1")
    assert f"spans 1  was version {one}, removed since\n" in capsys.readouterr().out


def test_warm_start_shows_its_base_model(past, capsys):
    first, _ = past.run(span=1, weights="a")
    past.run(span=2, weights="b", base_model=first)
    past.verb("lineage", "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert [(m["artifact"], m["by"]) for m in found["base_model"]] == [(first, "Trainer, run 1")]
    assert [example["span"] for example in found["examples"]] == [2]


def test_the_picture_holds_what_led_to_the_model_and_what_was_made_of_it(past, capsys):
    first, _ = past.run(span=1, weights="a")
    model, version = past.run(span=2, weights="b", baseline=first)
    past.verb("lineage", "--format", "mermaid")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "flowchart LR"
    boxes = dict(re.findall(r'^  (a\d+)\["(.*)"\]$', "\n".join(lines), re.MULTILINE))
    assert boxes[f"a{model}"] == f"Model {model}"
    assert any(f"<br>version {version}" in text for text in boxes.values())
    arrows = re.findall(r'^  (a\d+) -- "(\w+)" --> (a\d+)$', "\n".join(lines), re.MULTILINE)
    assert len(arrows) == len(lines) - len(boxes) - 2 > 8
    assert {name for source, _, target in arrows for name in (source, target)} == set(boxes)
    # The baseline is there, its own past is not.
    assert [node for source, node, _ in arrows if source == f"a{first}"] == ["Evaluator", "Evaluator"]
    assert not any(target == f"a{first}" for _, _, target in arrows)


def test_a_format_that_there_is_not_is_refused_with_those_there_are(past, capsys):
    assert past.verb("lineage", "--format", "dot") == 2
    error = capsys.readouterr().err.replace("'", "")
    assert "--format: invalid choice: dot (choose from text, json, mermaid)" in error


def test_unknown_model_and_span_are_refused_with_what_there_is(past, capsys):
    model, version = past.run(span=1, weights="a")
    assert past.verb("lineage", "7777") == 2
    assert (
        f"'7777' is no version and no model of toy; versions: [{version}], models: [{model}]"
        in capsys.readouterr().err
    )
    assert past.verb("lineage", "--span", "9") == 2
    assert "--span is 9, and no run of toy has read it; spans read: 1" in capsys.readouterr().err


def test_version_put_there_by_hand_is_named_as_such(past, capsys):
    past.run(span=1, weights="a")
    (past.paths.push_destination / "9999999999").mkdir()
    assert past.verb("lineage") == 2
    assert "version 9999999999 is in" in (text := capsys.readouterr().err)
    assert "ML Metadata does not know its model" in text


def test_push_that_was_killed_before_it_was_recorded_is_known_by_its_provenance(past, capsys):
    past.run(span=1, weights="a")
    model, _ = past.run(span=2, weights="b", push=False)
    run = past.store.get_contexts_by_type("pipeline_run")[-1].name
    version = past.push(run, model, "b", blessing=0, record=False)
    assert past.verb("lineage") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"version {version} of toy, in service\n  model       {model}  ")


def test_task_without_a_run_is_told_so(tmp_path, capsys):
    past = Past(tmp_path / "out")
    assert past.verb("lineage") == 2
    assert "ML Metadata knows no run of task toy" in capsys.readouterr().err
