"""Request logs, labels that come later, and the verdict on them: fine, watch or retrain."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import tensorflow as tf
from bert_task import MonitoringConfig, WeakLabelConfig
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import prediction_log_pb2

from bert_pipeline.drift import Drift
from bert_pipeline.errors import UserError
from bert_pipeline.estimates import Estimate
from bert_pipeline.monitoring import late_labels, report, request_logs, verdict, weak_labels
from bert_pipeline.monitoring.request_logs import LoggedText
from bert_pipeline.monitoring.verdict import Change, Level
from bert_pipeline.slice_metrics import SliceMetrics

LABELS = ("bad", "good")


def record(*texts: str, ids: str, version: int = 7, model: str = "shoes") -> bytes:
    """What the model server writes for one call that answers `good` to each text."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([t.encode() for t in texts]))
    outputs = log.predict_log.response.outputs
    outputs["label"].CopyFrom(tf.make_tensor_proto([b"good"] * len(texts)))
    outputs["labels"].CopyFrom(tf.make_tensor_proto([[b"bad", b"good"]] * len(texts)))
    outputs["probabilities"].CopyFrom(tf.make_tensor_proto([[0.25, 0.75]] * len(texts)))
    log.predict_log.response.model_spec.name = model
    log.predict_log.response.model_spec.version.value = version
    log.log_metadata.request_origin, log.log_metadata.timestamp_secs = ids, 1_700_000_000
    return log.SerializeToString()


def write(path: Path, *records: bytes) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in records:
            writer.write(each)
    return path


def logged(name: str, *, label: str = "good", text: bytes = b"fine") -> LoggedText:
    return LoggedText(name, "shoes", 7, 1_700_000_000, {"text": text}, label, {})


def test_each_text_of_a_call_is_a_row_with_an_id_of_its_own(tmp_path: Path) -> None:
    write(
        tmp_path / "a.tfrecord",
        record("x", ids="r1"),
        record("y", "z", ids="r2"),
        record("u", "v", ids="k,l"),
    )
    texts = request_logs.read_folder(tmp_path).texts
    assert [(t.id, t.columns["text"]) for t in texts] == [
        ("r1", b"x"), ("r2/0", b"y"), ("r2/1", b"z"), ("k", b"u"), ("l", b"v"),
    ]  # fmt: skip
    assert (texts[0].label, texts[0].probabilities) == ("good", {"bad": 0.25, "good": 0.75})
    assert (texts[0].model, texts[0].version, texts[0].second) == ("shoes", 7, 1_700_000_000)


def test_a_call_of_examples_brings_its_columns_along(tmp_path: Path) -> None:
    example = tf.train.Example()
    for name, value in (("text", b"x"), ("category", b"boots")):
        example.features.feature[name].bytes_list.value.append(value)
    log = prediction_log_pb2.PredictionLog.FromString(record("x", ids="r1"))
    log.predict_log.request.inputs.clear()
    log.predict_log.request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example.SerializeToString()]))
    write(tmp_path / "a.tfrecord", log.SerializeToString())
    [text] = request_logs.read_folder(tmp_path).texts
    assert text.columns == {"text": b"x", "category": b"boots"}


@pytest.mark.parametrize("cut", [3, 20])
def test_a_log_that_is_cut_is_read_up_to_there_and_told(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.tfrecord", record("x", ids="r1"), record("y", ids="r2"), record("z", ids="r3"))
    path.write_bytes(path.read_bytes()[:-cut])
    write(tmp_path / "b.tfrecord", record("u", ids="r4"))
    logs = request_logs.read_folder(tmp_path)
    assert [text.id for text in logs.texts] == ["r1", "r2", "r4"]
    assert logs.damage == ("a.tfrecord is damaged after its first 2 records; the rest of it is not read",)


def test_a_record_that_is_broken_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", record("x", ids="r1"), record("y", ids="r2"))
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(bytes(content))
    logs = request_logs.read_folder(tmp_path)
    assert [text.id for text in logs.texts] == ["r1"]
    assert len(logs.damage) == 1


def test_the_file_that_a_server_is_writing_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord.partial", record("x", ids="r1"), record("y", ids="r2"))
    path.write_bytes(path.read_bytes()[:-5])
    logs = request_logs.read_folder(tmp_path)
    assert ([text.id for text in logs.texts], logs.damage) == (["r1"], ())


def test_a_folder_without_a_log_says_how_one_comes_about(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no request log .* serve with `make serve LOG=1`"):
        request_logs.read_folder(tmp_path)


def labels_file(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_joined_by_id_and_what_does_not_fit_is_told(tmp_path: Path) -> None:
    path = labels_file(
        tmp_path,
        "id,label,category\nr1,bad,boots\nr2,great,boots\nr3,good,kids\nr3,good,kids\nr4,bad,\nr4,good,\nr9,bad,\n",
    )
    joined = late_labels.join([logged(f"r{i}") for i in range(1, 6)], path, label="stars", labels=LABELS)
    assert [(row.text.id, row.label) for row in joined.rows] == [
        ("r1", "bad"), ("r2", ""), ("r3", "good"), ("r4", ""), ("r5", ""),
    ]  # fmt: skip
    assert joined.rows[0].columns == {"category": "boots"}
    assert joined.told == (
        "2 of 5 logged texts have a label",
        "2 rows repeat an id",
        "1 ids have different labels, for example 'r4'; they are left out",
        "labels that the task does not know are left out: 'great' (1)",
        "1 ids of the file are not in the log, for example 'r9'",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\nx1,bad\n", "no id of .* is in the request log: the file has 'x1', the log 'r1'"),
        ("key,label\nr1,bad\n", r"has no column id or request_id \(it has key, label\)"),
        ("id,label\n", "has no rows"),
    ],
)
def test_a_file_of_labels_that_cannot_be_joined_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        late_labels.join([logged("r1")], labels_file(tmp_path, text), label="label", labels=LABELS)


def test_context_brings_columns_before_there_are_labels(tmp_path: Path) -> None:
    path = labels_file(tmp_path, "id,category,label\nr1,boots,bad\n")
    texts = late_labels.without_labels([logged("r1"), logged("r2")])
    joined = late_labels.with_context(texts, path)
    assert [(row.label, row.columns.get("category")) for row in joined.rows] == [("", "boots"), ("", None)]
    assert joined.told == ("the context of 1 of 2 logged texts is known",)


def change(before: float, now: float, *, count: int = 400, name: str = "") -> Change:
    def share(value: float) -> Estimate:
        return Estimate(value, math.sqrt(value * (1 - value) / count))

    return Change(name, count, share(now), share(before))


def level(
    *found: Change, drifts: tuple[Drift, ...] = (), agreeing: int = 10, config: MonitoringConfig
) -> Level:
    agreements = [weak_labels.Agreement("rules", 10, agreeing)]
    return verdict.judge(found, drifts=drifts, agreements=agreements, config=config).level


def test_a_sure_drop_means_retraining_a_small_one_watching_and_noise_nothing() -> None:
    config = MonitoringConfig(watch_drop=0.03, retrain_drop=0.08)
    assert level(change(0.9, 0.9), config=config) is Level.FINE
    assert level(change(0.9, 0.88), config=config) is Level.FINE  # within watch_drop
    assert level(change(0.9, 0.86), config=config) is Level.WATCH
    assert level(change(0.9, 0.7), config=config) is Level.RETRAIN
    assert level(change(0.9, 0.86, count=40), config=config) is Level.FINE  # noise
    assert level(change(0.9, 0.8, count=40), config=config) is Level.WATCH  # large, and may be noise
    assert level(change(0.9, 0.2, count=20), config=config) is Level.FINE  # under min_examples


def test_the_more_slices_are_looked_at_the_surer_a_drop_must_be() -> None:
    config, drop = MonitoringConfig(), change(0.9, 0.81, count=100, name="category=boots")
    others = [change(0.9, 0.9, name=f"category={i}") for i in range(20)]
    assert level(drop, config=config) is Level.RETRAIN
    assert level(drop, *others, config=config) is Level.WATCH


def test_a_slice_that_a_gate_names_is_not_drowned_by_the_others() -> None:
    drop = change(0.9, 0.81, count=100, name="category=boots")
    others = [change(0.9, 0.9, name=f"category={i}") for i in range(20)]

    def levels(gated: set[str]) -> Level:
        found = (*others, drop, change(0.9, 0.9))
        return verdict.judge(
            found, drifts=(), agreements=(), config=MonitoringConfig(confidence=0.9), gated=gated
        ).level

    assert levels({"category=boots"}) is Level.RETRAIN
    assert levels({"category=1", ""}) is Level.WATCH
    assert levels({"category"}) is Level.WATCH  # a gate on a column names no value


def test_drift_and_weak_labels_have_a_say() -> None:
    def drifted(*, is_breach: bool) -> Drift:
        return Drift("text_script", "L-infinity", 0.4, 0.3, not is_breach, is_breach, "text_script: ...")

    config = MonitoringConfig(min_agreement=0.8)
    assert level(drifts=(drifted(is_breach=False),), config=config) is Level.WATCH
    assert level(drifts=(drifted(is_breach=True),), config=config) is Level.RETRAIN
    assert level(agreeing=8, config=config) is Level.FINE
    assert level(agreeing=7, config=config) is Level.WATCH


def test_slices_are_put_beside_themselves_and_new_ones_are_told() -> None:
    def row(name: str, right: int, wrong: int) -> SliceMetrics:
        total = right + wrong
        columns = ("category",) if name else ()
        return SliceMetrics(name, columns, total, {"accuracy": right / total}, {}, ((right, wrong), (0, 0)))

    live = [row("", 60, 40), row("category=boots", 10, 30), row("category=clogs", 50, 10)]
    before = [row("", 180, 20), row("category=boots", 38, 2)]
    found = verdict.changes(live, before, metric="accuracy", labels=LABELS)
    assert [(c.slice, c.num_examples) for c in found] == [
        ("", 100), ("category=boots", 40), ("category=clogs", 60),
    ]  # fmt: skip
    assert found[1].drop == pytest.approx(0.7)
    assert found[1].std_error == pytest.approx(
        math.hypot(math.sqrt(0.25 * 0.75 / 40), math.sqrt(0.95 * 0.05 / 40))
    )
    judged = verdict.judge(found, drifts=(), agreements=(), config=MonitoringConfig())
    assert [reason.slice for reason in judged.reasons] == ["", "category=boots"]
    assert judged.notes == (
        "unknown to the evaluation at the push, so not compared: category=clogs (accuracy 0.833)",
    )


def test_rules_speak_of_the_texts_they_fit_only() -> None:
    rules = (WeakLabelConfig("broke|leak", "bad"), WeakLabelConfig("love", "good"))
    texts = [
        logged("1", text=b"They BROKE", label="bad"),
        logged("2", text=b"it leaks, love it", label="good"),
        logged("3", text=b"love", label="good"),
        logged("4", text=b"size 42?", label="good"),
    ]
    agreement = weak_labels.with_rules(texts, rules, columns=("text",))
    assert agreement.sentence == "agrees with the task's 2 rules on 2 of 3 texts (66.7%)"


def made_report() -> report.Report:
    found = (change(0.9, 0.7), Change('category="x"', 40, Estimate(0.5, 0.1), Estimate(math.nan)))
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
