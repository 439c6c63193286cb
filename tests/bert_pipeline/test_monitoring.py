"""The report on live traffic, as people, programs and Prometheus are told, and its exit status."""

from __future__ import annotations

import json
import math
from pathlib import Path

from bert_task import MonitoringConfig
from prometheus_client.parser import text_string_to_metric_families

from bert_pipeline.estimates import Estimate
from bert_pipeline.monitoring import report, verdict
from bert_pipeline.monitoring.verdict import Change


def made_report() -> report.Report:
    all_data = Change("", 400, Estimate(0.7, 0.023), Estimate(0.9, 0.015))
    found = (all_data, Change('category="x"', 40, Estimate(0.5, 0.1), Estimate(math.nan)))
    return report.Report(
        task="shoes", version=7, metric="accuracy", num_texts=400, seconds=(0, 3600), told=("read",),
        changes=found, drifts=(), agreements=(),
        verdict=verdict.judge(found, drifts=(), agreements=(), config=MonitoringConfig()),
    )  # fmt: skip


def test_the_report_is_told_to_people_programs_and_prometheus(tmp_path: Path) -> None:
    made = made_report()
    text = report.as_text(made)
    assert "task shoes, version 7: 400 texts from 1970-01-01 00:00 to 1970-01-01 01:00 UTC" in text
    assert "verdict   RETRAIN\n          retrain: accuracy on all data is 0.700 on 400 labelled texts" in text
    report.write(report.as_json(made), tmp_path / "deep" / "latest.json")
    values = json.loads((tmp_path / "deep" / "latest.json").read_text())
    assert (values["verdict"], values["slices"][1]["at_push"]) == ("retrain", None)
    families = {f.name: f for f in text_string_to_metric_families(report.as_prometheus(made))}
    assert [s.value for s in families["bert_monitor_verdict"].samples] == [2.0]
    slices = {s.labels["slice"]: s.value for s in families["bert_monitor_metric"].samples}
    assert slices == {"": 0.7, 'category="x"': 0.5}


def test_exit_statuses_are_those_of_the_documentation() -> None:
    assert {each.name: status for each, status in verdict.EXIT_STATUS.items()} == {
        "FINE": 0, "WATCH": 10, "RETRAIN": 20,
    }  # fmt: skip
