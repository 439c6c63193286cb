"""Joins a CSV of late labels and slice columns to logged texts by id."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bert_pipeline.data import table_files
from bert_pipeline.monitoring.request_logs import LoggedText
from bert_pipeline.settings.errors import UserError

_ID_COLUMNS = ("id", "request_id")


@dataclasses.dataclass(frozen=True)
class LabelledText:
    """A logged text with its late label and columns."""

    text: LoggedText
    label: str
    """Empty if unknown."""

    columns: Mapping[str, str]
    """The file's other columns, for slices."""

    def cell(self, name: str) -> bytes:
        """A column's value from the file, or else from the request; empty if neither has one."""
        return self.columns.get(name, "").encode() or self.text.columns.get(name, b"")


@dataclasses.dataclass(frozen=True)
class Join:
    """Logged texts joined with the rows of a file."""

    rows: tuple[LabelledText, ...]
    """Every logged text, labelled or not."""

    told: tuple[str, ...]
    """Findings of the join, one sentence each."""

    @property
    def labelled(self) -> tuple[LabelledText, ...]:
        """The labelled rows."""
        return tuple(row for row in self.rows if row.label)


def without_labels(texts: Sequence[LoggedText]) -> Join:
    """The logged texts without a file."""
    return Join(tuple(LabelledText(text, "", {}) for text in texts), ())


def join(texts: Sequence[LoggedText], path: Path, *, label: str, labels: Sequence[str]) -> Join:
    """Joins a file to logged texts by id.

    Args:
        texts: from the log.
        path: CSV (UTF-8, header) with a column `id` or `request_id`; a column of the label's name or `label`, unless
            the file only has columns to slice by.
        label: `data.label` of the task.
        labels: `data.labels` of the task; other labels are dropped and reported.

    Raises:
        UserError: no such file or column, rows of different lengths, no label of the task, or no id that
            matches the log.
    """
    rows = _read(path)
    id_column = next((name for name in _ID_COLUMNS if name in rows), "")
    if not id_column:
        raise UserError(f"{path} has no column id or request_id (it has {', '.join(rows)})")
    label_column = next((name for name in (label, "label") if label and name in rows), "")
    by_id, told = _by_id(rows, id_column=id_column, label_column=label_column)
    given = collections.Counter(
        row[label_column] for row in by_id.values() if label_column and row[label_column]
    )
    unknown = collections.Counter({name: count for name, count in given.items() if name not in labels})
    names = ", ".join(f"{name!r} ({count})" for name, count in unknown.most_common(3))
    if unknown and unknown.total() == given.total():
        raise UserError(
            f"{path}: none of its {given.total():,} labels is one of the task's: column {label_column} has {names}, "
            f"and data.labels {', '.join(map(repr, labels))}; write them as the task has them"
        )
    if unknown:
        told.append(f"{unknown.total():,} labels that the task does not know are left out: {names}")
    repeated = _repeated(texts, told=told)
    joined = []
    for place, text in enumerate(texts):
        row = by_id.get(text.id, {})
        known = row.get(label_column, "") if label_column and place not in repeated else ""
        others = {name: value for name, value in row.items() if name != label_column}
        joined.append(LabelledText(text, known if known in labels else "", others))
    _tell_matches(joined, by_id, texts=texts, path=path, told=told, has_labels=bool(label_column))
    return Join(tuple(joined), tuple(told))


def _repeated(texts: Sequence[LoggedText], *, told: list[str]) -> set[int]:
    """Positions of logged texts that get no label because another text has their id.

    Of copies of one text, the last answer counts; if the texts of an id differ, none counts.
    """
    places: dict[str, list[int]] = collections.defaultdict(list)
    for place, text in enumerate(texts):
        places[text.id].append(place)
    copies: set[int] = set()
    different: set[int] = set()
    for same in places.values():
        if len(same) > 1 and all(texts[place].columns == texts[same[0]].columns for place in same):
            copies.update(same[:-1])
        elif len(same) > 1:
            different.update(same)
    if copies:
        told.append(f"{len(copies):,} logged texts were asked again under their id; the last answer counts")
    if different:
        told.append(
            f"{len(different):,} logged texts share their id with another text, for example "
            f"{texts[min(different)].id!r}; no label is joined to them"
        )
    return copies | different


def with_context(joined: Join, path: Path) -> Join:
    """Adds slice columns, which may be known before the labels.

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


def without_value(rows: Sequence[LabelledText], *, slices: Sequence[str]) -> list[str]:
    """One sentence for each slice spec for which labelled texts lack a value.

    Args:
        rows: labelled.
        slices: `evaluation.slices` of the task.
    """
    told = []
    for spec in slices:
        missing = sum(1 for row in rows if not all(row.cell(name) for name in spec.split("+")))
        if missing:
            told.append(
                f"{missing:,} of {len(rows):,} labelled texts have no value of {spec}; they are in none of its slices"
            )
    return told


def _read(path: Path) -> pd.DataFrame:
    try:
        raw = path.read_bytes()
        rows = [
            {name: cell.decode("utf-8") for name, cell in row.items()}
            for row in table_files.rows_of_csv(raw, path=path)
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise UserError(f"{path} has no rows")
    return pd.DataFrame(rows)


def _by_id(
    rows: pd.DataFrame, *, id_column: str, label_column: str
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows by id; repeated ids merge to the last non-empty cells, and are dropped if their labels differ."""
    named = rows[rows[id_column].str.strip() != ""]
    by_id = named.where(named != "").groupby(id_column, sort=False)
    told = []
    if len(named) < len(rows):
        told.append(f"{len(rows) - len(named):,} rows have no id and are left out")
    if twice := len(named) - by_id.ngroups:
        told.append(f"{twice:,} rows repeat an id; the last cell that is filled counts")
    last = by_id.last().fillna("")
    if label_column:
        contradicted = last.index[by_id[label_column].nunique() > 1]
        if len(contradicted):
            told.append(
                f"{len(contradicted):,} ids have different labels, for example {min(contradicted)!r}; they are left out"
            )
        last = last.drop(contradicted)
    return last.to_dict("index"), told


def _tell_matches(
    joined: Sequence[LabelledText],
    by_id: Mapping[str, dict[str, str]],
    *,
    texts: Sequence[LoggedText],
    path: Path,
    told: list[str],
    has_labels: bool,
) -> None:
    logged = {text.id for text in texts}
    matched = logged & by_id.keys()
    if not matched:
        raise UserError(
            f"no id of {path} is in the request log: the file has {min(by_id, default='')!r}, the log "
            f"{texts[0].id if texts else ''!r}; ids are the header x-request-id, ID/0, ID/1, ... of its rows"
        )
    num_labelled = sum(1 for row in joined if row.label)
    if has_labels:
        told.insert(0, f"{num_labelled:,} of {len(joined):,} logged texts have a label")
    if len(by_id) > len(matched):
        strays = len(by_id) - len(matched)
        told.append(
            f"{strays:,} ids of the file are not in the log, for example {min(by_id.keys() - logged)!r}"
        )
