"""What ExampleValidator found, told to a person: problems with the line to change, notes, distances."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2

from bert_pipeline.components.text_checks import Finding
from bert_pipeline.data.drift import Drift, Threshold
from bert_pipeline.data.text_features import DERIVED
from bert_pipeline.settings import config
from bert_pipeline.settings.whole_file import write_whole

# A new column harms nothing: no component reads a column that the task does not name.
_HARMLESS = {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}

# Notes are taken from this split alone: the others are cut from the same data, and would say them again.
_NOTED_SPLIT = "train"


@dataclasses.dataclass
class Report:
    """Collects what was found, split by split, and writes it."""

    task_file: Path
    schema_file: Path
    limits: Mapping[str, Threshold]
    problems: list[str] = dataclasses.field(default_factory=list)
    """What stops the run; each with a fix."""

    notes: list[str] = dataclasses.field(default_factory=list)
    """What is worth knowing and stops nothing."""

    measured: list[str] = dataclasses.field(default_factory=list)
    """Lines of the table of distances."""

    def add_split(
        self, split: str, *, findings: Iterable[Finding], anomalies: anomalies_pb2.Anomalies
    ) -> None:
        """Adds what is wrong with one split.

        Args:
            split: its name.
            findings: of the text checks; they tell more than an anomaly of the same column, which is left out.
            anomalies: of TFDV.
        """
        if anomalies.data_missing:
            line = config.line_of(self.task_file, "data.files")
            self.problems.append(
                f"  split {split}: it has no examples\n"
                f"    fix at {line}: give it rows, or a larger share of data.hash_buckets"
            )
            return
        told = set()
        for finding in findings:
            told.add(finding.column)
            self.problems.append(self._finding(split, finding))
        if anomalies.HasField("dataset_anomaly_info"):
            self.problems.append(f"  split {split}: {anomalies.dataset_anomaly_info.description}")
        for column, info in sorted(anomalies.anomaly_info.items()):
            if {reason.type for reason in info.reason} <= _HARMLESS:
                if column not in DERIVED:
                    self._note(split, f"column {column} is not in the schema; nothing reads it")
            elif column not in told:
                self.problems.append(self._anomaly(split, column, info))

    def add_drifts(self, split: str, drifts: Iterable[Drift]) -> None:
        """Adds the distances of one split from the same split of the span before."""
        for drift in drifts:
            limit = self.limits[drift.column]
            mark = "STOP" if drift.is_breach else "note" if drift.is_note else ""
            self.measured.append(
                f"  {split:<8}{drift.column:<22}{drift.distance:<27}{drift.value:>6.3f}{limit.note:>7g}"
                f"{limit.stop:>7g}  {mark}"
            )
            if drift.is_breach:
                self.problems.append(self._breach(split, drift))
            elif drift.is_note:
                self._note(split, f"drift of {drift.explanation}")

    def as_text(self) -> str:
        """The whole report; a file of its own beside the run."""
        parts = [
            "The data does not fit the task; nothing was trained." if self.problems else "The data fits."
        ]
        if self.problems:
            parts.append("\n".join(["Problems", *self.problems]))
        if self.notes:
            parts.append("\n".join(["Notes", *(f"  {note}" for note in self.notes)]))
        if self.measured:
            head = f"  {'split':<8}{'column':<22}{'distance':<27}{'value':>6}{'note':>7}{'stop':>7}"
            parts.append("\n".join(["Distances from the span before, 0 to 1", head, *self.measured]))
        return "\n\n".join(parts) + "\n"

    def write(self, path: Path) -> None:
        """Writes the report atomically."""
        write_whole(path, self.as_text())

    def _note(self, split: str, note: str) -> None:
        if split == _NOTED_SPLIT:
            self.notes.append(note)

    def _finding(self, split: str, finding: Finding) -> str:
        where = f" at {config.line_of(self.task_file, finding.setting)}" if finding.setting else ""
        return f"  split {split}, column {finding.column}: {finding.problem}\n    fix{where}: {finding.fix}"

    def _anomaly(self, split: str, column: str, info: anomalies_pb2.AnomalyInfo) -> str:
        return (
            f"  split {split}, column {column}: {info.description or info.short_description}\n"
            f"    fix at {self._schema_line(column)}: mend the data, or change the schema if the data is right"
        )

    def _breach(self, split: str, drift: Drift) -> str:
        line = config.line_of(self.task_file, "validation.drift_stop")
        return (
            f"  split {split}, drift from the span before, column {drift.explanation}\n"
            f"    fix at {line}: find out what changed; if the data is right, allow more there: "
            f"drift_stop = {{ {_key(drift.column)} = {min(1.0, drift.value * 1.2):.2f} }}"
        )

    def _schema_line(self, column: str) -> str:
        """The line of the schema file at which the column's domain stands, or else its feature."""
        name = re.compile(rf'\s*name: "{re.escape(column)}"')
        lines = self.schema_file.read_text(encoding="utf-8").splitlines()
        found = [i for i, line in enumerate(lines, start=1) if name.match(line)]
        return f"{self.schema_file.name}:{found[-1]}" if found else self.schema_file.name


def _key(column: str) -> str:
    """A column as a key of TOML."""
    return column if re.fullmatch(r"[A-Za-z0-9_-]+", column) else json.dumps(column, ensure_ascii=False)
