"""Spans are read once, validated, compared with the one before, and handed on; on the toy, without training.

The tests follow each other on one output folder, as runs do.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import shutil
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from bert_pipeline import pipeline
from bert_pipeline.data import spans
from bert_pipeline.metadata import database as our_metadata
from bert_pipeline.running import older_spans, summary
from bert_pipeline.running.local_runner import LocalRunner, NodeResult
from bert_pipeline.settings import config
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import run_paths

ROOT = Path(__file__).resolve().parents[3]


@dataclasses.dataclass
class Project:
    """A toy whose data comes in spans."""

    folder: Path
    encoder: object

    def write_span(self, span: int, rows: list[list[str]], header=("text", "label", "part")) -> None:
        for split in ("train", "eval"):
            path = self.folder / "data" / f"{span}" / f"{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "w", newline="") as file:
                csv.writer(file).writerows([header, *rows])

    def read(self, *, span: int, window: int) -> tuple[older_spans.OlderSpans, list[str], list[NodeResult]]:
        """Reads the older spans, then the newest one as the main graph does; says which nodes ran."""
        loaded = config.load_task(
            str(self.folder / "toy.toml"), data=str(self.folder / "data"), span=span, window=window
        )
        paths = run_paths("toy", out=self.folder / "out")
        paths.root.mkdir(parents=True, exist_ok=True)
        connection = our_metadata.connection_config("", sqlite_path=paths.metadata)
        self.ran: list[str] = []
        schema_pbtxt = loaded.schema_path.read_text()

        def run_graph(components):
            graph = pipeline.create_pipeline(
                "toy", components=components, pipeline_root=paths.pipeline_root, metadata=connection
            )
            runner = LocalRunner(on_start=lambda _: None, on_end=self._on_end)
            return runner.run(graph)

        reader = older_spans.Reader(
            loaded=loaded,
            encoder=self.encoder,
            schema_pbtxt=schema_pbtxt,
            paths=paths,
            connection=connection,
            run_graph=run_graph,
            say=self.ran.append,
        )
        self.connection = connection
        self.older = older = older_spans.read_older_spans(reader, window=spans.resolve_window(loaded))
        data = pipeline.validated_data(
            loaded, encoder=self.encoder, schema_pbtxt=schema_pbtxt, parts=older.parts
        )
        return older, self.ran, run_graph(data.nodes)

    def _on_end(self, result: NodeResult) -> None:
        if result.state == "ran" and result.node_id in ("ExampleGen", "StatisticsGen"):
            self.ran.append(result.node_id)


def rows(num_negative: int, num_positive: int, text="the fit is good") -> list[list[str]]:
    return [
        [f"{text} {label} {i}", label, "fit"]
        for label, count in (("negative", num_negative), ("positive", num_positive))
        for i in range(100, 100 + count)
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_encoder) -> Project:
    folder = tmp_path_factory.mktemp("spans")
    text = (ROOT / "bert_pipeline/tasks/toy.toml").read_text()
    text = text.replace('"train.csv"', '"{SPAN}/train.csv"').replace('"eval.csv"', '"{SPAN}/eval.csv"')
    text = text.replace(
        "[text]", "label_share_tolerance = 0.4\n\n[validation]\ndrift_stop = { label = 0.3 }\n\n[text]"
    )
    (folder / "toy.toml").write_text(text)
    shutil.copy(ROOT / "bert_pipeline/tasks/toy.schema.pbtxt", folder)
    project = Project(folder, tiny_encoder)
    project.write_span(1, rows(50, 50))
    project.write_span(2, rows(70, 30))
    return project


@pytest.fixture(scope="module")
def first(project):
    return project.read(span=2, window=2)


def test_a_window_hands_on_the_examples_of_every_span_the_newest_last(project, first):
    older, _, results = first
    with metadata.Metadata(project.connection) as handle:
        resolver = next(r for r in results if r.node_id == "OlderSpans")
        events = handle.store.get_events_by_execution_ids([resolver.execution_id])
        outputs = [
            e
            for e in events
            if e.type == metadata_store_pb2.Event.INTERNAL_OUTPUT and e.path.steps[0].key == "examples"
        ]
        uris = handle.store.get_artifacts_by_id([e.artifact_id for e in outputs])
    assert [a.custom_properties["span"].int_value for a in uris] == [1, 2]
    assert older.notes == ()


def test_drift_that_is_worth_a_note_is_told_in_the_summary_and_in_the_report(project, first):
    _, _, results = first
    validator = next(r for r in results if r.node_id == "ExampleValidator")
    with metadata.Metadata(project.connection) as handle:
        artifacts = our_metadata.output_artifacts(handle.store, validator.execution_id)
    note = (
        "drift of label: L-infinity 0.200 (limit 0.1); 'positive' went from 50.0% to 30.0%, on 100 after 100"
    )
    window = spans.SpanWindow(spans=(1, 2), previous=1)
    report = summary.DataReport.of(window, notes=()).with_anomalies(artifacts)
    assert list(report.lines()) == [
        "data      trained on spans 1, 2; evaluated on span 2",
        f"note      {note}",
    ]
    text = (project.folder / "out/toy/anomalies/span-2.txt").read_text()
    assert text.startswith(f"The data fits.\n\nNotes\n  {note}\n")


def test_a_span_that_was_read_is_not_read_again(project, first):
    _, ran, _ = project.read(span=2, window=2)
    assert ran == ["span 1, to train on", "span 2, to train on and evaluate"]


def test_a_changed_span_is_read_again_and_drift_beyond_the_limit_stops(project, first):
    project.write_span(1, rows(20, 80, text="the sole is"))
    with pytest.raises(UserError) as stopped:
        project.read(span=2, window=2)
    assert project.ran[:3] == ["span 1, to train on", "ExampleGen", "StatisticsGen"]
    assert project.older.notes == ("span 1 was read again: its files or their split changed since",)
    message = str(stopped.value)
    assert (
        "split train, drift from the span before, column label: L-infinity 0.500 (limit 0.3); "
        "'positive' went from 80.0% to 30.0%, on 100 after 100\n    fix at " in message
    )
    assert re.search(
        r"toy\.toml:\d+ \(validation\.drift_stop\): .* drift_stop = \{ label = 0\.60 \}", message
    )
    report = (project.folder / "out/toy/anomalies/span-2.txt").read_text()
    assert report.startswith("The data does not fit the task; nothing was trained.\n\nProblems\n  split ")


@pytest.mark.slow
def test_a_span_of_the_window_with_a_missing_column_stops_with_its_name(project, first):
    project.write_span(4, [["good", "negative"]], header=("body", "label"))
    project.write_span(5, rows(70, 30))
    with pytest.raises(
        UserError, match=r"(?s)span 4, which the window holds: .*column text: .*(dropped|missing)"
    ):
        project.read(span=5, window=2)


def test_each_label_must_have_an_example_in_the_window_and_not_in_each_span(tmp_path, tiny_encoder):
    text = (ROOT / "bert_pipeline/tasks/toy.toml").read_text()
    text = text.replace('"train.csv"', '"{SPAN}/train.csv"').replace('"eval.csv"', '"{SPAN}/eval.csv"')
    text = text.replace("label_shares = { negative = 0.5, positive = 0.5 }", "")
    (tmp_path / "toy.toml").write_text(text)
    shutil.copy(ROOT / "bert_pipeline/tasks/toy.schema.pbtxt", tmp_path)
    project = Project(tmp_path, tiny_encoder)
    project.write_span(1, rows(30, 12))
    project.write_span(2, rows(40, 0))
    project.write_span(3, rows(40, 0))
    with pytest.raises(UserError) as error:
        project.read(span=3, window=2)
    assert "split train, column label: none of 40 examples has the label 'positive'" in str(error.value)
    assert "split eval" not in str(error.value)
    _, _, results = project.read(span=2, window=2)
    assert results[-1].state == "ran"
