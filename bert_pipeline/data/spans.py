"""Finds the spans of the data and selects those of a run: the newest, a given one, or a window of the last N.

A span is TFX's dated slice of incoming data: `{SPAN}` (a number) or `{YYYY}-{MM}-{DD}` in the patterns of
`data.files` (https://www.tensorflow.org/tfx/guide/examplegen#span_version_and_split). Dates are numbered by the days
since 1970-01-01, as in TFX. Spans are resolved before the graph is built, so each run names a span by its
number and finds it in the cache.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from pathlib import Path

from bert_pipeline.settings import typed
from bert_pipeline.settings.config import LoadedTask
from bert_pipeline.settings.errors import UserError

_EPOCH = datetime.date(1970, 1, 1)

# TFX's specs; {SPAN:4} stands for 4 digits, leading zeros among them, and {SPAN} for a number without.
_SPEC = re.compile(r"\{(SPAN|VERSION)(?::(\d+))?\}|\{(YYYY|MM|DD)\}")
_DATE_WIDTHS = {"YYYY": 4, "MM": 2, "DD": 2}

# Number of spans in a message.
_NUM_NAMED = 8
# Number of stray folders in a note.
_NUM_STRAYS = 3

# Folders of spans that `new-task` looks for: span-1, span-2, ...
_FOLDER = re.compile(r"span-([0-9]+)")


@dataclasses.dataclass(frozen=True)
class SpanWindow:
    """The spans of one run."""

    spans: tuple[int, ...] = ()
    """Training spans, oldest first; the last one is evaluated. Empty if the data has no spans."""

    previous: int = 0
    """The span before the newest one, for drift; 0 if there is none."""

    by_date: bool = False
    notes: tuple[str, ...] = ()
    """Notes, such as a missing number in the middle."""

    @property
    def newest(self) -> int:
        """The evaluated span; 0 if the data has no spans."""
        return self.spans[-1] if self.spans else 0

    def name(self, span: int) -> str:
        """The span as written by the user: `2`, or `2025-07-01`."""
        return span_name(span, by_date=self.by_date)


def resolve_window(loaded: LoadedTask) -> SpanWindow:
    """Selects the spans of a task's run.

    Args:
        loaded: the task; reads data.files, data.span (0: the newest) and data.window.

    Raises:
        UserError: no span is there, or not the one asked for, or a split lacks it; or data.window is set and the
            patterns hold no {SPAN}.
    """
    data = loaded.task.data
    if not any(has_span(pattern) for pattern in data.files.values()):
        if data.window > 1:
            raise UserError(
                f"data.window is {data.window}, but data.files holds neither {{SPAN}} nor {{YYYY}}-{{MM}}-{{DD}}; put "
                f"the data into a folder for each span ({typed.command('spans')}) and name it in the pattern"
            )
        return SpanWindow()
    by_date = any("{YYYY}" in pattern for pattern in data.files.values())
    scans = {split: _scan(loaded.data_dir, pattern, split=split) for split, pattern in data.files.items()}
    found = _spans_of_all_splits(
        loaded, {split: sorted(scan.spans) for split, scan in scans.items()}, by_date=by_date
    )
    newest = data.span or found[-1]
    if newest not in found:
        raise UserError(
            f"data.span: there is no span {span_name(newest, by_date=by_date)} in {loaded.data_dir} "
            f"({', '.join(data.files.values())}); there {_list(found, by_date=by_date)}"
        )
    until = [span for span in found if span <= newest]
    spans = tuple(until[-data.window :])
    return SpanWindow(
        spans=spans,
        previous=until[-2] if len(until) > 1 else 0,
        by_date=by_date,
        notes=(*_notes(spans, by_date=by_date), *_strays(scans)),
    )


def has_span(pattern: str) -> bool:
    """Whether a file pattern has a span."""
    return any(match[1] == "SPAN" or match[3] for match in _SPEC.finditer(pattern))


def as_glob(pattern: str) -> str:
    """A file pattern that matches every span and version: `span-{SPAN}/*.csv` -> `span-*/*.csv`."""
    return _SPEC.sub("*", pattern)


def span_name(span: int, *, by_date: bool) -> str:
    """20270 -> `2025-07-01` where spans are dates; else the number."""
    return str(_EPOCH + datetime.timedelta(days=span)) if by_date else str(span)


def parse_span(text: str) -> int:
    """Parses a span: `2`, or a date `2025-07-01`, which is 20270.

    Raises:
        UserError: it is neither, or 0.
    """
    try:
        span = int(text) if text.isdigit() else (datetime.date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise UserError(f"{text!r} is not a span; give a number (2), or a date (2025-07-01)") from None
    if span == 0:
        raise UserError(f"{text!r} is not a span: they are numbered from 1; leave it out for the newest")
    return span


def files_of_span(data_dir: Path, pattern: str, *, span: int) -> list[Path]:
    """The files of one span, sorted; of every version.

    Args:
        data_dir: folder of the data.
        pattern: of one split.
        span: its number; used only if the pattern has a span.
    """
    regex = re.compile(_regex(pattern))
    found = {
        path: regex.fullmatch(path.relative_to(data_dir).as_posix())
        for path in data_dir.glob(as_glob(pattern))
    }
    return sorted(
        path
        for path, match in found.items()
        if match and (not has_span(pattern) or _number(match.groupdict()) == span)
    )


def span_folders(folder: Path) -> tuple[list[Path], str]:
    """The folders `span-1`, `span-2`, ... of a data set, lowest first, and their pattern.

    Args:
        folder: of the data set; other folders in it are left out.

    Example:
        >>> span_folders(Path("data"))  # span-01, span-02, span-notes
        ([PosixPath('data/span-01'), PosixPath('data/span-02')], 'span-{SPAN:2}')

    Raises:
        UserError: one is `span-0`, or some of the numbers have leading zeros and are not all of one length.
    """
    found = {p: m[1] for p in folder.glob("span-*") if p.is_dir() and (m := _FOLDER.fullmatch(p.name))}
    folders = sorted(found, key=lambda path: int(found[path]))
    is_padded = any(len(digits) > 1 and digits.startswith("0") for digits in found.values())
    pattern = f"span-{{SPAN:{len(found[folders[0]])}}}" if is_padded else "span-{SPAN}"
    for path in folders:
        _check_number(int(found[path]), path.name, setting=str(folder))
        if not re.fullmatch(_regex(pattern), path.name):
            raise UserError(f"{folder}: {_misfit(path.name, pattern)}")
    return folders, pattern


@dataclasses.dataclass(frozen=True)
class _Scan:
    """The files of one pattern."""

    spans: frozenset[int]
    strays: tuple[str, ...]
    """Names that look like a span but have no valid number."""


def _scan(data_dir: Path, pattern: str, *, split: str = "all") -> _Scan:
    setting = f"data.files.{split}"
    exact, digits = re.compile(_regex(pattern)), re.compile(_regex(pattern, any_width=True))
    # Of `span-{SPAN}/train.csv` the part with the number is what people see.
    depth = 1 + next((i for i, part in enumerate(pattern.split("/")) if has_span(part)), 0)
    spans: set[int] = set()
    strays: dict[str, None] = {}
    for path in sorted(data_dir.glob(as_glob(pattern))):
        name = path.relative_to(data_dir).as_posix()
        match = exact.fullmatch(name)
        if match is None and "{SPAN" in pattern and digits.fullmatch(name):
            raise UserError(f"{setting}: {_misfit(name, pattern)}")
        span = _number(match.groupdict()) if match else None
        if span is None:
            strays["/".join(name.split("/")[:depth])] = None
        else:
            _check_number(span, name, setting=setting)
            spans.add(span)
    return _Scan(frozenset(spans), tuple(strays))


def _check_number(span: int, name: str, *, setting: str) -> None:
    if span == 0:
        raise UserError(
            f"{setting}: {name} is span 0, and data.span = 0 stands for the newest; number the spans from 1 "
            "(rename all of them, the highest first)"
        )


def _misfit(name: str, pattern: str) -> str:
    """Explains why the digits in a name do not match a pattern, with the fix."""
    match = re.fullmatch(_regex(pattern, any_width=True), name)
    number = match["SPAN"] if match else ""
    spec = next(m for m in _SPEC.finditer(pattern) if m[1] == "SPAN")
    if len(number) > 1 and number.startswith("0"):
        fix = f"write {_SPEC.sub(lambda m: f'{{SPAN:{len(number)}}}' if m[1] == 'SPAN' else m[0], pattern)}"
        fix += ", with as many digits in each name" if len(number) > 1 else ""
    else:
        fix = "rename it, or all of them to one number of digits, and write that into the pattern"
    stands_for = f"exactly {spec[2]} digits" if spec[2] else "a number without leading zeros"
    return f"{name} is not found by {pattern}, where {spec[0]} stands for {stands_for}; {fix}"


def _strays(scans: dict[str, _Scan]) -> list[str]:
    names = list(dict.fromkeys(name for scan in scans.values() for name in scan.strays))
    if not names:
        return []
    more = f" and {len(names) - _NUM_STRAYS} more" if len(names) > _NUM_STRAYS else ""
    are = "are not spans and are" if len(names) > 1 else "is not a span and is"
    return [f"{', '.join(names[:_NUM_STRAYS])}{more} {are} left alone"]


def _regex(pattern: str, *, any_width: bool = False) -> str:
    """`{SPAN:2}/a?csv` -> `(?P<SPAN>[0-9]{2})/a[^/]csv`; with `any_width`, any digits do."""
    parts, at = [], 0
    for match in _SPEC.finditer(pattern):
        parts.append(_escape(pattern[at : match.start()]))
        parts.append(f"(?P<{match[1] or match[3]}>{'[0-9]+' if any_width else _digits(match)})")
        at = match.end()
    return "".join([*parts, _escape(pattern[at:])])


def _digits(spec: re.Match[str]) -> str:
    width = spec[2] or _DATE_WIDTHS.get(spec[3] or "")
    if width:
        return f"[0-9]{{{width}}}"
    return "0|[1-9][0-9]*" if spec[1] == "SPAN" else "[0-9]+"  # TFX looks for a span by its bare number


def _escape(literal: str) -> str:
    return re.escape(literal).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _number(groups: dict[str, str]) -> int | None:
    """The span of a path; None if the digits are not a date."""
    if "SPAN" in groups:
        return int(groups["SPAN"])
    try:
        return (datetime.date(*(int(groups[part]) for part in ("YYYY", "MM", "DD"))) - _EPOCH).days
    except ValueError:
        return None


def _spans_of_all_splits(loaded: LoadedTask, found: dict[str, list[int]], *, by_date: bool) -> list[int]:
    """The spans common to all splits.

    Raises:
        UserError: there is none, or the newest of one split is lacking in another.
    """
    patterns = loaded.task.data.files
    for split, spans in found.items():
        if not spans:
            raise UserError(f"data.files.{split}: no file matches {loaded.data_dir / patterns[split]}")
    everywhere = set.intersection(*(set(spans) for spans in found.values()))
    wanted = loaded.task.data.span or max(max(spans) for spans in found.values())
    for split, spans in found.items():
        if wanted not in spans and any(wanted in other for other in found.values()):
            raise UserError(
                f"data.files.{split}: span {span_name(wanted, by_date=by_date)} has no file of this split "
                f"({loaded.data_dir / patterns[split]}); add it, or name an older one "
                f"({typed.give('span', verb='pipeline')}): there {_list(sorted(everywhere), by_date=by_date)}"
            )
    return sorted(everywhere)


def _list(spans: list[int], *, by_date: bool) -> str:
    names = [span_name(span, by_date=by_date) for span in spans]
    if not names:
        return "are none"
    dots = "... " if len(names) > _NUM_NAMED else ""
    return f"{'are' if len(names) > 1 else 'is'} {dots}{', '.join(names[-_NUM_NAMED:])}"


def _notes(spans: tuple[int, ...], *, by_date: bool) -> list[str]:
    missing = sorted(set(range(spans[0], spans[-1])) - set(spans))
    if by_date or not missing:  # dates may be weeks or months apart
        return []
    return [f"no span {', '.join(map(str, missing))} between {spans[0]} and {spans[-1]}; trained without"]
