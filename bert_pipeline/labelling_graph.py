"""The graph of `label`: texts of any file or folder, the model in service, a table."""

from __future__ import annotations

from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode

from bert_pipeline.components.bulk_inferrer import ProgressBulkInferrer
from bert_pipeline.components.example_gen import unlabelled_example_gen
from bert_pipeline.components.labelled_table import LabelledTable
from bert_pipeline.components.served_model_resolver import ServedModelStrategy
from bert_pipeline.pipeline import UNLABELLED


def labelling_components(
    *, folder: Path, pattern: str, file_format: str, push_destination: Path
) -> list[BaseNode]:
    """Every component of `label`, in order.

    Args:
        folder: of the files.
        pattern: of their names.
        file_format: of the table: csv or parquet.
        push_destination: the served folder.
    """
    served = tfx.dsl.Resolver(
        strategy_class=ServedModelStrategy,
        config={"push_destination": str(push_destination)},
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        pushed_model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("ServedModel")
    example_gen = unlabelled_example_gen(
        data_dir=folder, split=UNLABELLED, pattern=pattern, data_format="csv"
    ).with_id("TextsToLabel")
    inferrer = ProgressBulkInferrer(
        examples=example_gen.outputs["examples"],
        model=served.outputs["model"],
        model_blessing=served.outputs["model_blessing"],
        data_spec=tfx.proto.DataSpec(example_splits=[UNLABELLED]),
        model_spec=tfx.proto.ModelSpec(model_signature_name=["serve_examples"]),
    ).with_id("Labeller")
    table = LabelledTable(
        inference_result=inferrer.outputs["inference_result"], file_format=file_format
    ).with_id("LabelledTable")
    return [served, example_gen, inferrer, table]
