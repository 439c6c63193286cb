"""What statistics cannot say of text and labels: counts over the examples themselves, with samples."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable

import bert_task
import tensorflow as tf

from bert_pipeline.data import table_files

# Distinct bad values that a message shows.
_NUM_SAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a column of a split."""

    column: str
    problem: str
    """With the share of examples and samples of the values."""

    setting: str
    """Key of the task file that would accept it, or empty: then only the data can be mended."""

    fix: str


class _Tally:
    """Bad values of one kind in one column: how many, and a few of them."""

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
    records: Iterable[bytes], *, data: bert_task.DataConfig, must_have: Collection[str] = ()
) -> list[Finding]:
    """Looks at every example of a split.

    Args:
        records: serialized raw tf.Examples.
        data: section [data] of the task.
        must_have: labels of which there must be an example: those that training learns from this split alone.

    Returns:
        What is wrong; empty where nothing is. A column that no example has is left to the schema.
    """
    tallies: dict[tuple[str, str], _Tally] = collections.defaultdict(_Tally)
    label_counts: collections.Counter[bytes] = collections.Counter()
    seen: set[str] = set()
    total = 0
    for record in records:
        features = tf.train.Example.FromString(record).features.feature
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


def _only_value(features: collections.abc.Mapping[str, tf.train.Feature], column: str) -> bytes:
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
