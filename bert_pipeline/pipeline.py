"""The whole graph, top to bottom: from a table of labelled texts to a model in service.

Nothing is computed here. Each component is given only the sections of the task that it reads,
because TFX makes what a component is given part of its cache key.
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

# Beam's DirectRunner tries to download another engine first, and so differs online and offline.
# The image is for workers elsewhere and is never read here: without one, TFX packs itself for them before each
# component of Beam, which takes seconds and leaves 50 MB in the folder for temporary files.
BEAM_ARGS = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--sdk_container_image=none",
)

UNLABELLED = "unlabelled"


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a graph is made of, resolved before it is built."""

    loaded: LoadedTask
    encoder: Encoder
    paths: RunPaths
    schema_pbtxt: str
    """Text of the curated schema."""

    span: SpanParts
    """The span that is evaluated, and what was read of the ones before."""

    server: str = "process"
    """What InfraValidator loads the candidate in: `process` (our server) or `docker` (TF Serving)."""


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
            "encoder_sha256": encoder.sha256,  # a folder's path says nothing of its content
        },
        disable_statistics=True,  # TFDV over token ids: most of Transform's time, and nobody reads it
    )
    transform.add_upstream_node(data.validator)  # nothing is computed on data that does not fit

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
        coverage.add_upstream_node(pusher)  # advice comes after the push, so that it cannot hold one back
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
    """Labels the task's unlabelled texts; it comes after the push, so that it cannot hold one back."""
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
    """Puts components together.

    Args:
        task_name: names the pipeline in ML Metadata.
        components: of `task_components`, or a part of the graph.
        pipeline_root: where artifacts are written.
        metadata: ML Metadata's connection configuration; None where the orchestrator brings its own.
        enable_cache: whether components with unchanged inputs are skipped.
    """
    return tfx.dsl.Pipeline(
        pipeline_name=task_name,
        pipeline_root=str(pipeline_root),
        components=list(components),
        metadata_connection_config=metadata,
        enable_cache=enable_cache,
        beam_pipeline_args=list(BEAM_ARGS),
    )
