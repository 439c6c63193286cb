"""The first part of the graph: reads a span, makes its statistics, validates it. Run alone over older spans."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import bert_task
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode

from bert_pipeline import drift_limits, wide_tables
from bert_pipeline.components import span_resolver
from bert_pipeline.components.example_gen import text_example_gen
from bert_pipeline.components.example_validator import TextExampleValidator
from bert_pipeline.components.schema import CuratedSchema
from bert_pipeline.components.text_statistics_gen import TextStatisticsGen
from bert_pipeline.config import LoadedTask
from bert_pipeline.encoders import Encoder


@dataclasses.dataclass(frozen=True)
class SpanParts:
    """The span that a graph reads, and what it needs of older ones."""

    span: int = 0
    """Its number; 0: the data does not come in spans."""

    older_examples: tuple[int, ...] = ()
    """Ids of the Examples of the window's older spans, the oldest first."""

    reference_statistics: tuple[int, ...] = ()
    """Id of the statistics of the span before; none: there is nothing to compare with."""

    labels_elsewhere: tuple[str, ...] = ()
    """Labels that the train split may lack: other spans of the window have them."""

    report_path: Path = Path("anomalies.txt")
    """Where ExampleValidator writes its report for people."""


@dataclasses.dataclass(frozen=True)
class ValidatedData:
    """What the rest of the graph is given."""

    nodes: list[BaseNode]
    newest: tfx.dsl.Channel
    """Examples of the span that is evaluated."""

    window: tfx.dsl.Channel
    """Examples of every span that is trained on."""

    schema: tfx.dsl.Channel
    statistics: tfx.dsl.Channel
    validator: BaseNode
    """Nothing must be computed before it has passed."""


def without_spans(data: bert_task.DataConfig) -> bert_task.DataConfig:
    """Section [data] for components that are told by their Examples which spans there are.

    It is part of their cache key: asking for the newest span by its number must retrain nothing.
    """
    return dataclasses.replace(data, span=0, window=1)


def columns_only(data: bert_task.DataConfig) -> bert_task.DataConfig:
    """Section [data] for Transform and Trainer: columns and labels, and no trace of what they do not read.

    It is part of their cache key: a wider `label_share_tolerance`, or a folder that was moved, must retrain nothing.
    """
    return bert_task.DataConfig(path="", text=data.text, label=data.label, labels=data.labels, files={})


def example_gen_of(loaded: LoadedTask, *, span: int) -> BaseNode:
    """The ExampleGen of one span; of a table far wider than the task it reads what is named somewhere."""
    data = loaded.task.data
    return text_example_gen(
        data_dir=loaded.data_dir,
        files=data.files,
        data_format=data.format,
        hash_buckets=data.hash_buckets,
        span=span,
        key=data.text[0],
        columns=wide_tables.choose(loaded, span=span).columns,
    ).with_id("ExampleGen")


def ingestion(loaded: LoadedTask, *, encoder: Encoder, span: int) -> tuple[BaseNode, BaseNode]:
    """ExampleGen and StatisticsGen, with which every run begins."""
    task = loaded.task
    example_gen = example_gen_of(loaded, span=span)
    statistics_gen = TextStatisticsGen(
        examples=example_gen.outputs["examples"], data=task.data, text=task.text, encoder=encoder
    ).with_id("StatisticsGen")
    return example_gen, statistics_gen


def schema_inference(loaded: LoadedTask, *, span: int) -> list[BaseNode]:
    """Infers a schema, to be kept beside the task file; needs no encoder, for a schema is of columns that are there."""
    example_gen = example_gen_of(loaded, span=span)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    return [example_gen, statistics_gen.with_id("ColumnStatistics"), schema_gen]


def validated_data(
    loaded: LoadedTask, *, encoder: Encoder, schema_pbtxt: str, parts: SpanParts
) -> ValidatedData:
    """One span, read and validated, joined by the older ones of its window.

    Args:
        loaded: the task.
        encoder: whose vocabulary counts the tokens.
        schema_pbtxt: text of the curated schema.
        parts: the span.
    """
    example_gen, statistics_gen = ingestion(loaded, encoder=encoder, span=parts.span)
    newest = example_gen.outputs["examples"]
    schema = CuratedSchema(schema_pbtxt=schema_pbtxt).with_id("Schema")
    nodes = [example_gen, statistics_gen, schema]
    window, reference = newest, None
    if parts.older_examples or parts.reference_statistics:
        older = _older_spans(newest, parts)
        nodes.append(older)
        window = older.outputs[span_resolver.EXAMPLES]
        reference = older.outputs[span_resolver.STATISTICS] if parts.reference_statistics else None
    validator = TextExampleValidator(
        examples=newest,
        statistics=statistics_gen.outputs["statistics"],
        schema=schema.outputs["schema"],
        reference_statistics=reference,
        data=without_spans(loaded.task.data),
        labels_elsewhere=parts.labels_elsewhere,
        limits=drift_limits.thresholds(loaded.task, kind="drift"),
        task_file=loaded.path,
        schema_file=loaded.schema_path,
        report_path=parts.report_path,
    ).with_id("ExampleValidator")
    return ValidatedData(
        nodes=[*nodes, validator],
        newest=newest,
        window=window if parts.older_examples else newest,
        schema=schema.outputs["schema"],
        statistics=statistics_gen.outputs["statistics"],
        validator=validator,
    )


def _older_spans(newest: tfx.dsl.Channel, parts: SpanParts) -> BaseNode:
    artifacts = tfx.types.standard_artifacts
    return tfx.dsl.Resolver(
        strategy_class=span_resolver.SpanStrategy,
        config={
            "example_ids": list(parts.older_examples),
            "statistics_ids": list(parts.reference_statistics),
        },
        examples=tfx.dsl.Channel(type=artifacts.Examples),
        statistics=tfx.dsl.Channel(type=artifacts.ExampleStatistics),
        newest=newest,
    ).with_id("OlderSpans")
