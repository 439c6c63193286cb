"""Reads the spans before the newest one, each in a small separate graph; caches each span."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata

from bert_pipeline.data import drift
from bert_pipeline.data.spans import SpanWindow
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.metadata.database import output_artifacts
from bert_pipeline.pipeline import SpanParts, ingestion, validated_data
from bert_pipeline.running.local_runner import NodeResult
from bert_pipeline.settings.config import LoadedTask
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths

# Set only by ExampleGen's driver, on Examples read from files.
_FINGERPRINT = "input_fingerprint"


@dataclasses.dataclass(frozen=True)
class OlderSpans:
    """Inputs of the main graph from previous spans."""

    parts: SpanParts
    notes: tuple[str, ...]
    """Notes for the summary: spans that were read again, or could not be compared."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """Dependencies for reading a span."""

    loaded: LoadedTask
    encoder: Encoder
    schema_pbtxt: str
    paths: RunPaths
    connection: metadata_store_pb2.ConnectionConfig
    run_graph: Callable[[Sequence[BaseNode]], list[NodeResult]]
    say: Callable[[str], None]


def read_older_spans(reader: Reader, *, window: SpanWindow) -> OlderSpans:
    """Reads and validates the older spans of a window, and the previous span for its statistics.

    Args:
        reader: of the run.
        window: the spans of the run.

    Raises:
        UserError: a span of the window cannot be read or does not fit. A span used only for comparison
            is skipped with a note.
    """
    examples: list[int] = []
    statistics: dict[int, int] = {}
    labels: set[str] = set()
    notes = list(window.notes)
    seen = _spans_seen(reader)
    for span in sorted({*window.spans[:-1], *([window.previous] if window.previous else [])}):
        is_trained_on = span in window.spans
        purpose = "to train on" if is_trained_on else "to compare with"
        reader.say(f"span {window.name(span)}, {purpose}")
        try:
            results = reader.run_graph(_graph(reader, window=window, span=span, validate=is_trained_on))
        except UserError as error:
            if is_trained_on:
                raise UserError(f"span {window.name(span)}, which the window holds: {error}") from error
            notes.append(
                f"span {window.name(span)} could not be read, so nothing was compared with it: {error}"
            )
            continue
        by_id = {result.node_id: result for result in results}
        with metadata.Metadata(reader.connection) as handle:
            artifacts = output_artifacts(handle.store, by_id["ExampleGen"].execution_id)
            artifacts |= output_artifacts(handle.store, by_id["StatisticsGen"].execution_id)
        statistics[span] = artifacts["statistics"].id
        if is_trained_on:
            examples.append(artifacts["examples"].id)
            labels |= _labels_of(artifacts["statistics"].uri, reader.loaded)
        if by_id["ExampleGen"].state == "ran" and span in seen:
            notes.append(f"span {window.name(span)} was read again: its files or their split changed since")
    if window.spans:
        reader.say(f"span {window.name(window.newest)}, to train on and evaluate")
    parts = SpanParts(
        span=window.newest,
        older_examples=tuple(examples),
        labels_elsewhere=tuple(sorted(labels)),
        reference_statistics=tuple([statistics[window.previous]] if window.previous in statistics else []),
        report_path=_report_path(reader, window=window, span=window.newest),
    )
    return OlderSpans(parts=parts, notes=tuple(notes))


def _graph(reader: Reader, *, window: SpanWindow, span: int, validate: bool) -> list[BaseNode]:
    if not validate:
        return list(ingestion(reader.loaded, encoder=reader.encoder, span=span))
    return validated_data(
        reader.loaded,
        encoder=reader.encoder,
        schema_pbtxt=reader.schema_pbtxt,
        parts=SpanParts(
            span=span,
            labels_elsewhere=reader.loaded.task.data.labels,  # the window must have each label, a single span need not
            report_path=_report_path(reader, window=window, span=span),
        ),
    ).nodes


def _labels_of(statistics_uri: str, loaded: LoadedTask) -> set[str]:
    """The task's labels with an example in a span's train split."""
    statistics = drift.read_statistics(Path(statistics_uri) / "Split-train")
    return {
        bucket.label
        for feature in statistics.datasets[0].features
        if feature.path.step[0] == loaded.task.data.label
        for bucket in feature.string_stats.rank_histogram.buckets
    } & set(loaded.task.data.labels)


def _report_path(reader: Reader, *, window: SpanWindow, span: int) -> Path:
    return reader.paths.anomalies(f"span-{window.name(span)}" if window.spans else "data")


def _spans_seen(reader: Reader) -> set[int]:
    """Spans with Examples in this output folder."""
    root = str(reader.paths.pipeline_root)
    with metadata.Metadata(reader.connection) as handle:
        found = handle.store.get_artifacts_by_type("Examples")
    return {
        artifact.custom_properties["span"].int_value
        for artifact in found
        if _FINGERPRINT in artifact.custom_properties and artifact.uri.startswith(root)
    }
