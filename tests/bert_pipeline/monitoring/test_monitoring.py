"""The report on live traffic, as people, programs and Prometheus are told, and its exit status."""

from __future__ import annotations

import json
import math
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bert_pipeline.data.drift import Drift
from bert_pipeline.judging.intervals import Interval
from bert_pipeline.monitoring import report, verdict, weak_labels
from bert_pipeline.monitoring.verdict import Change, Level
from bert_pipeline.settings.sections import MonitoringConfig
from bert_pipeline.settings.whole_file import write_whole


def made_report() -> report.Report:
    all_data = Change(
        "", 400, Interval(0.7, 0.65, 0.74), Interval(0.9, 0.86, 0.93), 400, Interval(0.2, 0.15, 0.25), 1e-9
    )
    found = (all_data, Change('category="x"', 40, Interval(0.5, 0.35, 0.65), Interval(math.nan)))
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
    write_whole(tmp_path / "deep" / "latest.json", report.as_json(made))
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


def test_a_look_counts_once_for_each_number_of_labels(tmp_path: Path) -> None:
    made = made_report()
    for name in ("20260101-000000", "20260102-000000"):
        write_whole(tmp_path / f"{name}.json", report.as_json(made))
    (tmp_path / "20260103-000000.json").write_text("{")
    (tmp_path / "latest.json").write_text(report.as_json(made))

    def looks(version: int, num_texts: int, num_labelled: int) -> tuple[int, int]:
        return report.looks_before(tmp_path, version=version, num_texts=num_texts, num_labelled=num_labelled)

    assert [looks(7, 401, 401), looks(7, 400, 401), looks(7, 401, 400)] == [(1, 1), (0, 1), (1, 0)]
    assert looks(7, 400, 400) == (0, 0)  # the same data are the same look
    assert looks(7, 300, 300) == looks(8, 401, 401) == (0, 0)


def test_drift_and_weak_labels_have_a_say() -> None:
    def drifted(*, is_breach: bool) -> Drift:
        return Drift("text_script", "L-infinity", 0.4, 0.3, not is_breach, is_breach, "text_script: ...")

    def level(*drifts: Drift, agreeing: int = 100) -> Level:
        agreements = [weak_labels.Agreement("rules", 100, agreeing)]
        config = MonitoringConfig(min_agreement=0.8)
        return verdict.judge((), drifts=drifts, agreements=agreements, config=config).level

    assert level(drifted(is_breach=False)) is Level.WATCH
    assert level(drifted(is_breach=True)) is Level.RETRAIN
    assert level(agreeing=80) is Level.FINE
    assert level(agreeing=75) is Level.FINE  # 0.75 of 100 may be 0.8
    assert level(agreeing=70) is Level.WATCH
