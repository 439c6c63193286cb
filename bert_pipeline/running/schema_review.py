"""The verb `schema review`: shows the schema changes for the newest span; `--accept` applies them."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from bert_pipeline import pipeline
from bert_pipeline.components import schema as curated
from bert_pipeline.data import spans
from bert_pipeline.data.drift import Statistics, read_statistics
from bert_pipeline.metadata import database
from bert_pipeline.running import steps
from bert_pipeline.settings import config, typed
from bert_pipeline.settings.paths import exclusive
from bert_pipeline.settings.requests import GraphRequest

# The split from which the schema is inferred, as in SchemaGen.
_SPLIT = "train"


@dataclasses.dataclass(frozen=True)
class Review:
    """A curated schema compared with the data."""

    suggested: schema_pb2.Schema
    """The curated schema with the smallest change that accepts the data."""

    problems: tuple[str, ...]
    """Sentences on data that the curated schema does not allow."""

    unseen: tuple[str, ...]
    """Sentences on values that the schema allows but the data lacks. They are kept."""

    diff: tuple[str, ...]
    """Lines of a unified diff, from the curated schema to the suggested one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(GraphRequest):
    """Arguments of `schema review`."""

    accept: bool
    """Whether to write the suggested changes into the curated schema."""


def run(request: Request) -> int:
    """The verb `schema review [--accept]`: `--task --data --span --out --metadata --set`.

    Returns:
        0 if the data fits or the changes were accepted; 1 if changes were only shown.
    """
    loaded, paths = request.load(), request.paths
    window = spans.resolve_window(loaded)
    paths.root.mkdir(parents=True, exist_ok=True)
    with exclusive(paths):
        place = steps.Place.of(paths, metadata=request.metadata)
        if not loaded.schema_path.exists():
            steps.infer_schema(place, loaded)
        nodes = pipeline.schema_inference(loaded, span=window.newest)[:2]
        results = steps.run_graph(place, nodes)
        found = database.output_artifacts(place.store, results[-1].execution_id)
    text = curated.read_curated_schema(loaded.schema_path)
    review = review_schema(
        text, statistics=read_statistics(Path(found["statistics"].uri) / f"Split-{_SPLIT}"), loaded=loaded
    )
    span = f"span {window.name(window.newest)}" if window.spans else "the data"
    print(f"{loaded.schema_path} against {span} of task {loaded.task.name}")
    print("\n".join([*(f"  {line}" for line in (*review.problems, *review.unseen)), *review.diff]))
    if not review.diff:
        print("nothing to accept: the data fits")
        return 0
    if not request.accept:
        print(
            f"nothing was changed; to write it: the same command with {typed.give('accept', None)}, or correct the data"
        )
        return 1
    curated.write_schema(review.suggested, path=loaded.schema_path, header=_header(text))
    print(f"accepted into {loaded.schema_path}; read it, commit it")
    return 0


def review_schema(text: str, *, statistics: Statistics, loaded: config.LoadedTask) -> Review:
    """Compares a curated schema with data.

    Args:
        text: of the curated schema.
        statistics: of the data, one dataset.
        loaded: the task; the data cannot change its labels and texts.

    Raises:
        UserError: the data lacks a column that the task names.
    """
    schema = text_format.Parse(text, schema_pb2.Schema())
    anomalies = tfdv.validate_statistics(statistics, schema)
    updated = tfdv.update_schema(schema, statistics)
    suggested = curated.tighten(updated, data=loaded.task.data)
    before, after = (text_format.MessageToString(s, as_utf8=True).splitlines() for s in (schema, suggested))
    name = loaded.schema_path.name
    return Review(
        suggested=suggested,
        problems=tuple(
            f"column {column}: {info.description.strip() or info.short_description}"
            for column, info in sorted(anomalies.anomaly_info.items())
        ),
        unseen=tuple(_unseen(schema, statistics)),
        diff=tuple(difflib.unified_diff(before, after, name, f"{name}, suggested", lineterm="", n=4)),
    )


def _unseen(schema: schema_pb2.Schema, statistics: Statistics) -> list[str]:
    domains = {domain.name: domain.value for domain in schema.string_domain}
    seen = {
        feature.path.step[0]: {bucket.label for bucket in feature.string_stats.rank_histogram.buckets}
        for feature in statistics.datasets[0].features
    }
    sentences = []
    for feature in schema.feature:
        missing = [
            value for value in domains.get(feature.domain, []) if value not in seen.get(feature.name, ())
        ]
        if missing and feature.name in seen:
            sentences.append(f"column {feature.name}: no example has {', '.join(missing)}; it stays allowed")
    return sentences


def _header(text: str) -> str:
    """The leading comment of a schema file; later comments are lost on rewriting."""
    lines = text.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:end])
