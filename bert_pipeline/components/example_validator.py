"""ExampleValidator that stops the run: TFDV's anomalies plus checks of text and labels, told in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import bert_task
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as stock
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import io_utils

from bert_pipeline import config
from bert_pipeline.components import text_checks
from bert_pipeline.errors import UserError

# A new column harms nothing: no component reads a column that the task does not name.
_HARMLESS = {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}


class Executor(stock.Executor):
    """TFX's executor, then the text checks; raises when either found something."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Validates every split.

        Raises:
            UserError: lists every anomaly with split, column, share, samples and the line to change.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        data = bert_task.from_json(bert_task.DataConfig, exec_properties["data"])
        explain = _Explainer(
            task_file=Path(exec_properties["task_file"]), schema_file=Path(exec_properties["schema_file"])
        )
        anomalies = output_dict["anomalies"][0]
        lines: list[str] = []
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            uri = artifact_utils.get_split_uri(output_dict["anomalies"], split)
            examples_uri = artifact_utils.get_split_uri(input_dict["examples"], split)
            lines += explain.split(split, _read_anomalies(uri), _read_records(examples_uri), data)
        if lines:
            raise UserError("the data does not fit the task; nothing was trained.\n" + "\n".join(lines))
        return result


def _read_anomalies(uri: str) -> anomalies_pb2.Anomalies:
    return anomalies_pb2.Anomalies.FromString((Path(uri) / stock.DEFAULT_FILE_NAME).read_bytes())


def _read_records(uri: str) -> Any:
    paths = tf.io.gfile.glob(io_utils.all_files_pattern(uri))
    return tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator()


class _Explainer:
    """Turns anomalies into sentences that name the line to change."""

    def __init__(self, *, task_file: Path, schema_file: Path) -> None:
        self._task_file = task_file
        self._schema_file = schema_file

    def split(
        self, split: str, anomalies: anomalies_pb2.Anomalies, records: Any, data: bert_task.DataConfig
    ) -> list[str]:
        findings = text_checks.check_examples(records, data=data)
        lines = [self._finding(split, finding) for finding in findings]
        told = {finding.column for finding in findings}
        if anomalies.HasField("dataset_anomaly_info"):
            lines.append(f"  split {split}: {anomalies.dataset_anomaly_info.description}")
        for column, info in sorted(anomalies.anomaly_info.items()):
            kinds = {reason.type for reason in info.reason}
            if column not in told and not kinds <= _HARMLESS:
                lines.append(self._anomaly(split, column, info))
        return lines

    def _finding(self, split: str, finding: text_checks.Finding) -> str:
        where = f" at {config.line_of(self._task_file, finding.setting)}" if finding.setting else ""
        return f"  split {split}, column {finding.column}: {finding.problem}\n    fix{where}: {finding.fix}"

    def _anomaly(self, split: str, column: str, info: anomalies_pb2.AnomalyInfo) -> str:
        return (
            f"  split {split}, column {column}: {info.description or info.short_description}\n"
            f"    fix at {self._schema_line(column)}: mend the data, or change the schema if the data is right"
        )

    def _schema_line(self, column: str) -> str:
        """The line of the schema file at which the column's domain stands, or else its feature."""
        name = re.compile(rf'\s*name: "{re.escape(column)}"')
        lines = self._schema_file.read_text(encoding="utf-8").splitlines()
        found = [i for i, line in enumerate(lines, start=1) if name.match(line)]
        return f"{self._schema_file.name}:{found[-1]}" if found else self._schema_file.name


class TextExampleValidatorSpec(types.ComponentSpec):
    """ExampleValidator's interface, with the examples and the task beside the statistics."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "data": ExecutionParameter(type=str),
        "task_file": ExecutionParameter(type=str),
        "schema_file": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }


class TextExampleValidator(base_component.BaseComponent):
    """Validates statistics against the curated schema and examples against the task, and stops the run."""

    SPEC_CLASS = TextExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        data: bert_task.DataConfig,
        task_file: Path,
        schema_file: Path,
    ) -> None:
        """Wires the component.

        Args:
            examples: channel of raw Examples.
            statistics: channel of their ExampleStatistics.
            schema: channel of the curated Schema.
            data: section [data] of the task.
            task_file: where the task stands, for messages.
            schema_file: where the curated schema stands, for messages.
        """
        spec = TextExampleValidatorSpec(
            examples=examples,
            statistics=statistics,
            schema=schema,
            data=bert_task.to_json(data),
            task_file=str(task_file),
            schema_file=str(schema_file),
            anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        super().__init__(spec=spec)
