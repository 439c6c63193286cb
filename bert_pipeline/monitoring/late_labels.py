"""Labels, and columns to slice by, that arrive after the requests: a CSV joined by id."""

from __future__ import annotations

import collections
import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from bert_pipeline.errors import UserError
from bert_pipeline.monitoring.request_logs import LoggedText

_ID_COLUMNS = ("id", "request_id")


@dataclasses.dataclass(frozen=True)
class LabelledText:
    """A logged text with what was learned of it later."""

    text: LoggedText
    label: str
    """Empty: not known."""

    columns: Mapping[str, str]
    """Of the file, beside id and label: for slices."""


@dataclasses.dataclass(frozen=True)
class Join:
    """Logged texts and the rows of a file, put together."""

    rows: tuple[LabelledText, ...]
    """Every logged text, whether its label is known or not."""

    told: tuple[str, ...]
    """How it went, a sentence each."""

    @property
    def labelled(self) -> tuple[LabelledText, ...]:
        """The rows whose label is known."""
        return tuple(row for row in self.rows if row.label)


def without_labels(texts: Sequence[LoggedText]) -> Join:
    """The logged texts as they are."""
    return Join(tuple(LabelledText(text, "", {}) for text in texts), ())


def join(texts: Sequence[LoggedText], path: Path, *, label: str, labels: Sequence[str]) -> Join:
    """Joins a file to logged texts by id.

    Args:
        texts: from the log.
        path: CSV (UTF-8, header) with a column `id` or `request_id`; a column of the label's name or `label`, unless
            the file only has columns to slice by.
        label: `data.label` of the task.
        labels: `data.labels` of the task; other labels are left out, and told.

    Raises:
        UserError: no such file or column, or nothing in it matches the log.
    """
    rows = _read(path)
    id_column = next((name for name in _ID_COLUMNS if name in rows[0]), "")
    if not id_column:
        raise UserError(f"{path} has no column id or request_id (it has {', '.join(rows[0])})")
    label_column = next((name for name in (label, "label") if label and name in rows[0]), "")
    by_id, told = _by_id(rows, id_column=id_column, label_column=label_column)
    unknown = collections.Counter(
        row[label_column] for row in by_id.values() if label_column and row[label_column] not in (*labels, "")
    )
    if unknown:
        names = ", ".join(f"{name!r} ({count})" for name, count in unknown.most_common(3))
        told.append(f"labels that the task does not know are left out: {names}")
    joined = []
    for text in texts:
        row = by_id.get(text.id, {})
        known = row.get(label_column, "") if label_column else ""
        others = {name: value for name, value in row.items() if name not in (id_column, label_column)}
        joined.append(LabelledText(text, known if known in labels else "", others))
    _tell_matches(joined, by_id, texts=texts, path=path, told=told)
    return Join(tuple(joined), tuple(told))


def with_context(joined: Join, path: Path) -> Join:
    """Adds columns to slice by, which are known before any label is.

    Args:
        joined: logged texts, labelled or not.
        path: CSV (UTF-8, header) with a column `id` or `request_id`; a label in it is not read.

    Raises:
        UserError: as `join`.
    """
    context = join([row.text for row in joined.rows], path, label="", labels=())
    rows = [
        dataclasses.replace(row, columns={**known.columns, **row.columns})
        for row, known in zip(joined.rows, context.rows, strict=True)
    ]
    num_known = sum(1 for row in context.rows if row.columns)
    told = f"the context of {num_known:,} of {len(rows):,} logged texts is known"
    return Join(tuple(rows), (*joined.told, told))


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [
                {k: v or "" for k, v in row.items() if k is not None}
                for row in csv.DictReader(file, strict=True)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise UserError(f"{path} has no rows")
    return rows


def _by_id(
    rows: Sequence[dict[str, str]], *, id_column: str, label_column: str
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows by id; of several with one id the last, and none where their labels differ."""
    by_id: dict[str, dict[str, str]] = {}
    twice, contradicted = 0, set()
    for row in rows:
        before = by_id.get(row[id_column])
        if before is not None:
            twice += 1
            if label_column and before[label_column] != row[label_column]:
                contradicted.add(row[id_column])
        by_id[row[id_column]] = row
    told = []
    if twice:
        told.append(f"{twice:,} rows repeat an id")
    if contradicted:
        told.append(
            f"{len(contradicted):,} ids have different labels, for example {min(contradicted)!r}; they are left out"
        )
    return {key: row for key, row in by_id.items() if key not in contradicted}, told


def _tell_matches(
    joined: Sequence[LabelledText],
    by_id: Mapping[str, dict[str, str]],
    *,
    texts: Sequence[LoggedText],
    path: Path,
    told: list[str],
) -> None:
    logged = {text.id for text in texts}
    matched = logged & by_id.keys()
    if not matched:
        raise UserError(
            f"no id of {path} is in the request log: the file has {min(by_id, default='')!r}, the log "
            f"{texts[0].id if texts else ''!r}; ids are the header x-request-id, ID/0, ID/1, ... of its rows"
        )
    num_labelled = sum(1 for row in joined if row.label)
    told.insert(0, f"{num_labelled:,} of {len(joined):,} logged texts have a label")
    if len(by_id) > len(matched):
        strays = len(by_id) - len(matched)
        told.append(
            f"{strays:,} ids of the file are not in the log, for example {min(by_id.keys() - logged)!r}"
        )
