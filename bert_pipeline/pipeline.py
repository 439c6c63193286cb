"""The whole graph, top to bottom: from a table of labelled texts to a model in service.

This module computes nothing. Each component gets only the sections of the task that it reads,
because TFX adds a component's parameters to its cache key.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import bert_task
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode

from bert_pipeline.components import baseline_resolver, serving_validator, span_resolver
from bert_pipeline.components.bulk_inferrer import ProgressBulkInferrer
from bert_pipeline.components.coverage import Coverage
from bert_pipeline.components.evaluator import GatedEvaluator
from bert_pipeline.components.example_gen import text_example_gen, unlabelled_example_gen
from bert_pipeline.components.example_validator import TextExampleValidator
from bert_pipeline.components.infra_validator import infra_validator
from bert_pipeline.components.labelled_table import LabelledTable
from bert_pipeline.components.pusher import AtomicPusher
from bert_pipeline.components.schema import CuratedSchema
from bert_pipeline.components.serving_validator import ServingValidator
from bert_pipeline.components.text_statistics_gen import TextStatisticsGen
from bert_pipeline.components.warm_start_resolver import warm_start
from bert_pipeline.data import drift, wide_tables
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.settings.config import PROJECT_ROOT, LoadedTask
from bert_pipeline.settings.paths import RunPaths


@dataclasses.dataclass(frozen=True)
class SpanParts:
    """The span of a graph, and its inputs from older spans."""

    span: int = 0
    """Its number; 0 if the data has no spans."""

    older_examples: tuple[int, ...] = ()
    """Ids of the Examples of the window's older spans, oldest first."""

    reference_statistics: tuple[int, ...] = ()
    """Id of the previous span's statistics; empty if there is nothing to compare with."""

    labels_elsewhere: tuple[str, ...] = ()
    """Labels that the train split may lack, because other spans of the window have them."""

    report_path: Path = Path("anomalies.txt")
    """File of ExampleValidator's text report."""


@dataclasses.dataclass(frozen=True)
class ValidatedData:
    """Inputs of the rest of the graph."""

    nodes: list[BaseNode]
    newest: tfx.dsl.Channel
    """Examples of the evaluated span."""

    window: tfx.dsl.Channel
    """Examples of all training spans."""

    schema: tfx.dsl.Channel
    statistics: tfx.dsl.Channel
    validator: BaseNode
    """Must pass before anything else runs."""


def without_spans(data: bert_task.DataConfig) -> bert_task.DataConfig:
    """Section [data] without span and window, for components that take the spans from their Examples.

    It is part of their cache key: naming the newest span by its number must not retrain.
    """
    return dataclasses.replace(data, span=0, window=1)


def columns_only(data: bert_task.DataConfig) -> bert_task.DataConfig:
    """Section [data] for Transform and Trainer: only the columns and labels that they read.

    It is part of their cache key: a wider `label_share_tolerance` or a moved folder must not retrain.
    """
    return bert_task.DataConfig(path="", text=data.text, label=data.label, labels=data.labels, files={})


def example_gen_of(loaded: LoadedTask, *, span: int) -> BaseNode:
    """The ExampleGen of one span; from a table far wider than the task it reads only named columns."""
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
    """ExampleGen and StatisticsGen, the first components of every run."""
    task = loaded.task
    example_gen = example_gen_of(loaded, span=span)
    statistics_gen = TextStatisticsGen(
        examples=example_gen.outputs["examples"], data=task.data, text=task.text, encoder=encoder
    ).with_id("StatisticsGen")
    return example_gen, statistics_gen


def schema_inference(loaded: LoadedTask, *, span: int) -> list[BaseNode]:
    """Infers a schema for the task file; needs no encoder, because a schema has only the data's columns."""
    example_gen = example_gen_of(loaded, span=span)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    return [example_gen, statistics_gen.with_id("ColumnStatistics"), schema_gen]


def validated_data(
    loaded: LoadedTask, *, encoder: Encoder, schema_pbtxt: str, parts: SpanParts
) -> ValidatedData:
    """Reads and validates one span, and adds the older ones of its window.

    Args:
        loaded: the task.
        encoder: its vocabulary tokenizes the texts.
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
        limits=drift.thresholds(loaded.task, kind="drift"),
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


MODULES_DIR = PROJECT_ROOT / "modules"

# Beam's DirectRunner first tries to download another engine, so it differs online and offline.
# The image is for workers elsewhere and is never read here: without one, TFX packs itself for them before each
# component of Beam, which takes seconds and leaves 50 MB in the folder for temporary files.
BEAM_ARGS = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--sdk_container_image=none",
)

UNLABELLED = "unlabelled"


@dataclasses.dataclass(frozen=True)
class Parts:
    """The resolved parts of a graph."""

    loaded: LoadedTask
    encoder: Encoder
    paths: RunPaths
    schema_pbtxt: str
    """Text of the curated schema."""

    span: SpanParts
    """The evaluated span, and the inputs from previous ones."""

    server: str = "process"
    """The server of InfraValidator: `process` (this project's) or `docker` (TF Serving)."""


def task_components(parts: Parts) -> list[BaseNode]:
    """Every component of a run, in order."""
    loaded, task, encoder = parts.loaded, parts.loaded.task, parts.encoder
    data_section = bert_task.to_json(columns_only(task.data))

    data = validated_data(loaded, encoder=encoder, schema_pbtxt=parts.schema_pbtxt, parts=parts.span)

    transform = tfx.components.Transform(
        examples=data.window,
        schema=data.schema,
        module_file=str(MODULES_DIR / "bert_transform.py"),
        custom_config={
            "data": data_section,
            "text": bert_task.to_json(task.text),
            "vocab_path": encoder.vocab_path,
            "lower_case": encoder.lower_case,
            "encoder_sha256": encoder.sha256,  # the path does not identify the content
        },
        disable_statistics=True,  # TFDV over token ids: most of Transform's time, and unused
    )
    transform.add_upstream_node(data.validator)  # stop before computing on invalid data

    training_config = {
        "data": data_section,
        "encoder": bert_task.to_json(task.encoder),
        "training": bert_task.to_json(task.training),
        "export": bert_task.to_json(task.export),
        "encoder_path": encoder.path,
        "encoder_sha256": encoder.sha256,
        "progress": True,
    }
    base_model = None
    if task.training.warm_start != "none":
        base_model = warm_start(
            custom_config=training_config,
            push_destination=parts.paths.push_destination,
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
        )

    trainer = tfx.components.Trainer(
        module_file=str(MODULES_DIR / "bert_trainer.py"),
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=data.schema,
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        base_model=base_model.outputs["model"] if base_model else None,
        custom_config=training_config,
    )
    model = trainer.outputs["model"]

    baseline = tfx.dsl.Resolver(
        strategy_class=baseline_resolver.ModelInServiceStrategy,
        config={"push_destination": str(parts.paths.push_destination)},
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        pushed_model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
        candidate=model,
    ).with_id("Baseline")

    evaluator = GatedEvaluator(
        examples=data.newest, model=model, baseline_model=baseline.outputs["model"], task=task
    ).with_id("Evaluator")

    validator = infra_validator(
        model=model, examples=data.newest, data=task.data, serving=task.serving, server=parts.server
    )

    pusher = AtomicPusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(parts.paths.push_destination))
        ),
    ).with_id("Pusher")

    components = [
        *data.nodes,
        transform,
        *([base_model] if base_model else []),
        trainer,
        baseline,
        evaluator,
        validator,
        pusher,
    ]
    if task.evaluation.coverage:
        coverage = Coverage(
            window=data.window,
            newest=data.newest,
            slices=json.dumps(task.evaluation.slices),
        ).with_id("Coverage")
        coverage.add_upstream_node(pusher)  # advice runs after the push, so it cannot block it
        components.append(coverage)
    if task.bulk_inference.files:
        components += bulk_inference(
            parts, data=data, model=model, blessing=evaluator.outputs["blessing"], after=pusher
        )
    return components


def bulk_inference(
    parts: Parts,
    *,
    data: ValidatedData,
    model: tfx.dsl.Channel,
    blessing: tfx.dsl.Channel,
    after: BaseNode,
) -> list[BaseNode]:
    """Labels the task's unlabelled texts; runs after the push, so it cannot block it."""
    task = parts.loaded.task
    example_gen = unlabelled_example_gen(
        data_dir=parts.loaded.data_dir,
        split=UNLABELLED,
        pattern=task.bulk_inference.files,
        data_format=task.data.format,
    ).with_id("UnlabelledExampleGen")
    example_gen.add_upstream_node(after)
    validator = ServingValidator(
        examples=example_gen.outputs["examples"],
        statistics=data.statistics,
        schema=data.schema,
        settings=serving_validator.settings_of(parts.loaded, encoder=parts.encoder),
    ).with_id("ServingValidator")
    inferrer = ProgressBulkInferrer(
        examples=example_gen.outputs["examples"],
        model=model,
        model_blessing=blessing,
        data_spec=tfx.proto.DataSpec(example_splits=[UNLABELLED]),
        model_spec=tfx.proto.ModelSpec(model_signature_name=["serve_examples"]),
    ).with_id("BulkInferrer")
    table = LabelledTable(
        inference_result=inferrer.outputs["inference_result"], file_format=task.bulk_inference.format
    ).with_id("LabelledTable")
    return [example_gen, validator, inferrer, table]


def create_pipeline(
    task_name: str,
    *,
    components: Sequence[BaseNode],
    pipeline_root: Path,
    metadata: object | None,
    enable_cache: bool = True,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline.

    Args:
        task_name: name of the pipeline in ML Metadata.
        components: of `task_components`, or a part of the graph.
        pipeline_root: folder of artifacts.
        metadata: ML Metadata's connection configuration; None if the orchestrator provides it.
        enable_cache: whether to skip components with unchanged inputs.
    """
    return tfx.dsl.Pipeline(
        pipeline_name=task_name,
        pipeline_root=str(pipeline_root),
        components=list(components),
        metadata_connection_config=metadata,
        enable_cache=enable_cache,
        beam_pipeline_args=list(BEAM_ARGS),
    )
