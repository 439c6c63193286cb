"""ExampleValidator's report: problems with the line to change, notes, distances.

TFDV computes anomalies and drift from statistics; the other checks of text and labels read the examples.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import bert_task
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2

from bert_pipeline.data import table_files
from bert_pipeline.data.drift import Drift, Threshold
from bert_pipeline.data.text_features import DERIVED
from bert_pipeline.settings import config
from bert_pipeline.settings.whole_file import write_whole

# A new column is harmless: no component reads a column that the task does not name.
_HARMLESS = {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}

# Take notes only from this split: the others come from the same data and would repeat them.
_NOTED_SPLIT = "train"
# Number of distinct bad values in a message.
_NUM_SAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One problem with a column of a split."""

    column: str
    problem: str
    """Includes the share of examples and sample values."""

    setting: str
    """Key of the task file that would accept it; empty if only the data can be corrected."""

    fix: str


class _Tally:
    """Bad values of one kind in one column: the count, and samples."""

    def __init__(self) -> None:
        self.count = 0
        self.values: collections.Counter[bytes] = collections.Counter()

    def add(self, value: bytes) -> None:
        self.count += 1
        if value in self.values or len(self.values) < 1000:
            self.values[value] += 1

    def describe(self, total: int) -> str:
        samples = ", ".join(repr(_shorten(v)) for v, _ in self.values.most_common(_NUM_SAMPLES))
        return f"{self.count} of {total} examples ({self.count / total:.1%}), for example {samples}"


def check_examples(
    examples: Iterable[tf.train.Example], *, data: bert_task.DataConfig, must_have: Collection[str] = ()
) -> list[Finding]:
    """Checks every example of a split.

    Args:
        examples: raw tf.Examples.
        data: section [data] of the task.
        must_have: labels that need an example: those that occur only in this split for training.

    Returns:
        The problems; empty if there are none. The schema reports columns that no example has.
    """
    tallies: dict[tuple[str, str], _Tally] = collections.defaultdict(_Tally)
    label_counts: collections.Counter[bytes] = collections.Counter()
    seen: set[str] = set()
    total = 0
    for example in examples:
        features = example.features.feature
        total += 1
        seen.update(features)
        for column in data.text:
            value = _only_value(features, column)
            if table_files.is_blank(value.decode("utf-8", "replace")):
                tallies["empty", column].add(value)
            elif not _is_utf8(value):
                tallies["utf8", column].add(value)
        label_counts[_only_value(features, data.label)] += 1
    if not total:
        return [Finding(data.text[0], "there is not one example", "", "add rows, or take a larger span")]
    findings = [
        _text_finding(kind, column, tally.describe(total))
        for (kind, column), tally in tallies.items()
        if column in seen
    ]
    if data.label in seen:
        findings += _label_findings(label_counts, data=data, total=total)
        findings += _lacking(label_counts, must_have, data=data, total=total)
    return findings


def _only_value(features: Mapping[str, tf.train.Feature], column: str) -> bytes:
    if column not in features:
        return b""
    values = features[column].bytes_list.value
    return bytes(values[0]) if values else b""


def _text_finding(kind: str, column: str, counts: str) -> Finding:
    if kind == "empty":
        return Finding(column, f"empty text in {counts}", "", "remove these rows, or fill in the text")
    return Finding(column, f"text that is not UTF-8 in {counts}", "", "save the file as UTF-8")


def _label_findings(
    counts: collections.Counter[bytes], *, data: bert_task.DataConfig, total: int
) -> list[Finding]:
    known = {label.encode() for label in data.labels}
    unknown = _Tally()
    for value, count in counts.items():
        if value not in known:
            unknown.count += count
            unknown.values[value] += count
    findings = []
    if unknown.count:
        findings.append(
            Finding(
                data.label,
                f"label that the task does not know in {unknown.describe(total)}",
                "data.labels",
                f"correct the rows, or add the label there (now {', '.join(data.labels)})",
            )
        )
    return findings + _share_findings(counts, data=data, total=total)


def _lacking(
    counts: collections.Counter[bytes], must_have: Collection[str], *, data: bert_task.DataConfig, total: int
) -> list[Finding]:
    lacking = [label for label in data.labels if label in must_have and not counts[label.encode()]]
    if not lacking:
        return []
    names = ", ".join(map(repr, lacking))
    return [
        Finding(
            data.label,
            f"none of {total} examples has the label {names}, so that nothing could be learned of it",
            "data.labels",
            "add rows with it (of older spans: a wider window), or take the label out there",
        )
    ]


def _share_findings(
    counts: collections.Counter[bytes], *, data: bert_task.DataConfig, total: int
) -> list[Finding]:
    tolerance = data.label_share_tolerance
    return [
        Finding(
            data.label,
            f"label {label!r} has a share of {counts[label.encode()] / total:.1%} ({counts[label.encode()]} of {total} "
            f"examples), and {expected:.1%} is expected (tolerance {tolerance:.1%})",
            "data.label_shares",
            "find out what changed in the data; if it is right, write the new share there, or raise "
            "data.label_share_tolerance",
        )
        for label, expected in data.label_shares.items()
        if abs(counts[label.encode()] / total - expected) > tolerance
    ]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _shorten(value: bytes) -> str:
    text = value.decode("utf-8", "backslashreplace")
    return text if len(text) <= 40 else text[:37] + "..."


@dataclasses.dataclass
class Report:
    """Collects the findings of all splits and writes the report."""

    task_file: Path
    schema_file: Path
    limits: Mapping[str, Threshold]
    problems: list[str] = dataclasses.field(default_factory=list)
    """Problems that stop the run, each with a fix."""

    notes: list[str] = dataclasses.field(default_factory=list)
    """Notes that do not stop the run."""

    measured: list[str] = dataclasses.field(default_factory=list)
    """Lines of the table of distances."""

    def add_split(
        self, split: str, *, findings: Iterable[Finding], anomalies: anomalies_pb2.Anomalies
    ) -> None:
        """Adds the problems of one split.

        Args:
            split: its name.
            findings: of the text checks; they replace anomalies of the same column, which say less.
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
        """Adds the distances of one split from the same split of the previous span."""
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
        """The full text of the report."""
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
            f"    fix at {self._schema_line(column)}: correct the data, or change the schema if the data is right"
        )

    def _breach(self, split: str, drift: Drift) -> str:
        line = config.line_of(self.task_file, "validation.drift_stop")
        return (
            f"  split {split}, drift from the span before, column {drift.explanation}\n"
            f"    fix at {line}: find out what changed; if the data is right, allow more there: "
            f"drift_stop = {{ {_key(drift.column)} = {min(1.0, drift.value * 1.2):.2f} }}"
        )

    def _schema_line(self, column: str) -> str:
        """The line in the schema file of the column's domain, or else of its feature."""
        name = re.compile(rf'\s*name: "{re.escape(column)}"')
        lines = self.schema_file.read_text(encoding="utf-8").splitlines()
        found = [i for i, line in enumerate(lines, start=1) if name.match(line)]
        return f"{self.schema_file.name}:{found[-1]}" if found else self.schema_file.name


def _key(column: str) -> str:
    """A column as a key of TOML."""
    return column if re.fullmatch(r"[A-Za-z0-9_-]+", column) else json.dumps(column, ensure_ascii=False)
