"""Runs the Evaluator on labelled live texts: the task's metrics by slice, for the version that answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from bert_pipeline.components.evaluator import GatedEvaluator
from bert_pipeline.components.example_gen import to_example
from bert_pipeline.components.served_model_resolver import GivenModelStrategy
from bert_pipeline.evaluation.slices import SliceMetrics, read_slices
from bert_pipeline.metadata.database import output_artifacts
from bert_pipeline.monitoring.late_labels import LabelledText
from bert_pipeline.running.local_runner import run_components
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.sections import TaskConfig
from bert_pipeline.settings.whole_file import whole

LIVE = "live"


def evaluate(
    rows: Sequence[LabelledText],
    *,
    model_id: int,
    task: TaskConfig,
    paths: RunPaths,
    store: MetadataStore,
    connection: metadata_store_pb2.ConnectionConfig,
) -> list[SliceMetrics]:
    """Runs the Evaluator on labelled rows, and records it in ML Metadata like any evaluation.

    Args:
        rows: labelled.
        model_id: ML Metadata id of the version that answered them.
        task: defines metrics and slices; its gates are not used.
        paths: of the task.
        store: of the task.
        connection: of the store.

    Raises:
        UserError: the model's artifact was removed.
    """
    _check_there(store, model_id)
    folder = paths.root / "monitoring" / "examples"
    write_examples(rows, folder=folder, task=task)
    ungated = dataclasses.replace(task, evaluation=dataclasses.replace(task.evaluation, gates=()))
    example_gen = tfx.components.ImportExampleGen(
        input_base=str(folder),
        input_config=tfx.proto.Input(splits=[tfx.proto.Input.Split(name=LIVE, pattern="*.tfrecord.gz")]),
        output_config=tfx.proto.Output(
            split_config=tfx.proto.SplitConfig(
                splits=[tfx.proto.SplitConfig.Split(name=LIVE, hash_buckets=1)]
            )
        ),
    ).with_id("LiveExamples")
    served = tfx.dsl.Resolver(
        strategy_class=GivenModelStrategy,
        config={"model_id": model_id},
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
    ).with_id("ServedModel")
    evaluator = GatedEvaluator(
        examples=example_gen.outputs["examples"],
        model=served.outputs["model"],
        baseline_model=None,
        task=ungated,
        splits=(LIVE,),
    ).with_id("LiveEvaluator")
    results = run_components(
        [example_gen, served, evaluator], task_name=task.name, paths=paths, connection=connection
    )
    evaluation = output_artifacts(store, results[-1].execution_id)["evaluation"]
    return read_slices(evaluation.uri, labels=task.data.labels)


def _check_there(store: MetadataStore, model_id: int) -> None:
    [model] = store.get_artifacts_by_id([model_id])
    if not Path(model.uri).is_dir():
        raise UserError(
            f"model {model_id} was removed ({model.uri} is not there), so that its answers cannot be evaluated; "
            "monitor it without labels, or the version in service"
        )


def write_examples(rows: Sequence[LabelledText], *, folder: Path, task: TaskConfig) -> None:
    """Writes rows as raw tf.Examples like the task's ExampleGen (text, label, slices), with their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {name for slices in task.evaluation.slices for name in slices.split("+")}
    with (
        whole(folder / "live.tfrecord.gz") as partial,
        tf.io.TFRecordWriter(str(partial), "GZIP") as writer,
    ):
        for row in rows:
            cells = {name: row.text.columns.get(name, b"") for name in task.data.text}
            cells |= {name: row.cell(name) for name in columns if row.cell(name)}
            cells |= {task.data.label: row.label.encode(), "request_id": row.text.id.encode()}
            writer.write(to_example(cells).SerializeToString())
