"""ExampleValidator that stops the run on anomalies (TFDV), drift, and invalid text and labels, with a report."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import bert_task
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as stock
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from bert_pipeline.components.example_gen import read_examples
from bert_pipeline.components.validation_report import Report, check_examples
from bert_pipeline.data.drift import Threshold, as_json, compare, read_statistics
from bert_pipeline.settings.errors import UserError

# Custom property of the ExampleAnomalies: the notes, one per line; the summary prints them.
NOTES = "notes"

# The training split.
_TRAIN = "train"

# The report, also in the artifact's folder.
REPORT_FILE = "anomalies.txt"


class Executor(stock.Executor):
    """Runs TFX's executor, then the drift and text checks; raises on any problem."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Validates every split, and writes a text report.

        Raises:
            UserError: lists every problem with split, column, share or distance, and the line to change.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        limits = {name: Threshold(*pair) for name, pair in json.loads(exec_properties["limits"]).items()}
        report = Report(
            task_file=Path(exec_properties["task_file"]),
            schema_file=Path(exec_properties["schema_file"]),
            limits=limits,
        )
        data = bert_task.from_json(bert_task.DataConfig, exec_properties["data"])
        elsewhere = json.loads(exec_properties["labels_elsewhere"])
        [anomalies] = output_dict["anomalies"]
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            report.add_split(
                split,
                findings=check_examples(
                    read_examples(artifact_utils.get_single_instance(input_dict["examples"]), split),
                    data=data,
                    must_have=set(data.labels) - set(elsewhere) if split == _TRAIN else (),
                ),
                anomalies=_read_anomalies(artifact_utils.get_split_uri([anomalies], split)),
            )
            _add_drifts(report, split, input_dict=input_dict)
        report.write(Path(exec_properties["report_path"]))
        if report.problems:
            raise UserError(
                "the data does not fit the task; nothing was trained.\n"
                + "\n".join(report.problems)
                + f"\n  the whole report is in {exec_properties['report_path']}"
            )
        report.write(Path(anomalies.uri) / REPORT_FILE)
        written = result.output_artifacts["anomalies"].artifacts[0]
        written.custom_properties[NOTES].string_value = "\n".join(report.notes)
        return result


def _add_drifts(report: Report, split: str, *, input_dict: dict[str, list[types.Artifact]]) -> None:
    for reference in input_dict.get("reference_statistics", []):
        if split in artifact_utils.decode_split_names(reference.split_names):
            current_uri = artifact_utils.get_split_uri(input_dict["statistics"], split)
            reference_uri = artifact_utils.get_split_uri([reference], split)
            drifts = compare(read_statistics(current_uri), read_statistics(reference_uri), report.limits)
            report.add_drifts(split, drifts)


def _read_anomalies(uri: str) -> anomalies_pb2.Anomalies:
    return anomalies_pb2.Anomalies.FromString((Path(uri) / stock.DEFAULT_FILE_NAME).read_bytes())


class TextExampleValidatorSpec(types.ComponentSpec):
    """ExampleValidator's interface, plus the examples, the previous span and the task."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "data": ExecutionParameter(type=str),
        "labels_elsewhere": ExecutionParameter(type=str),
        "limits": ExecutionParameter(type=str),
        "task_file": ExecutionParameter(type=str),
        "schema_file": ExecutionParameter(type=str),
        "report_path": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "reference_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }


class TextExampleValidator(base_component.BaseComponent):
    """Validates statistics against the curated schema and the previous span, and examples against the task."""

    SPEC_CLASS = TextExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        reference_statistics: types.BaseChannel | None,
        data: bert_task.DataConfig,
        labels_elsewhere: Collection[str],
        limits: Mapping[str, Threshold],
        task_file: Path,
        schema_file: Path,
        report_path: Path,
    ) -> None:
        """Wires the component.

        Args:
            examples: channel of raw Examples.
            statistics: channel of their ExampleStatistics.
            schema: channel of the curated Schema.
            reference_statistics: channel of the previous span's ExampleStatistics; None to skip drift.
            data: section [data] of the task.
            labels_elsewhere: labels that the train split may lack because other spans have them.
            limits: column to its drift limits.
            task_file: path of the task file, for messages.
            schema_file: path of the curated schema, for messages.
            report_path: the file of the report, also written when the run stops.
        """
        spec = TextExampleValidatorSpec(
            examples=examples,
            statistics=statistics,
            schema=schema,
            reference_statistics=reference_statistics,
            data=bert_task.to_json(data),
            labels_elsewhere=json.dumps(sorted(labels_elsewhere)),
            limits=json.dumps(as_json(limits)),
            task_file=str(task_file),
            schema_file=str(schema_file),
            report_path=str(report_path),
            anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        super().__init__(spec=spec)
