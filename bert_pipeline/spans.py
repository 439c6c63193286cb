"""Which spans the data has, and which of them a run takes: the newest, a given one, or a window of the last N.

A span is TFX's dated slice of incoming data: `{SPAN}` (a number) or `{YYYY}-{MM}-{DD}` in the patterns of
`data.files` (https://www.tensorflow.org/tfx/guide/examplegen#span_version_and_split). Dates are numbered by the days
since 1970-01-01, as TFX numbers them. Resolved before the graph is built, so that a span is asked for by
its number each time and found in the cache.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from pathlib import Path

from bert_pipeline import typed
from bert_pipeline.config import LoadedTask
from bert_pipeline.errors import UserError

_EPOCH = datetime.date(1970, 1, 1)

# TFX's specs, and what each of them may stand for; {SPAN:4} has leading zeros.
_SPEC = re.compile(r"\{(SPAN|VERSION)(?::(\d+))?\}|\{(YYYY|MM|DD)\}")
_DATE_WIDTHS = {"YYYY": 4, "MM": 2, "DD": 2}

# Spans that a message lists.
_NUM_NAMED = 8


@dataclasses.dataclass(frozen=True)
class SpanWindow:
    """The spans of one run."""

    spans: tuple[int, ...] = ()
    """Trained on, the oldest first; the last one is evaluated. Empty: the data does not come in spans."""

    previous: int = 0
    """The last span that is older than the newest of the window, for drift; 0: there is none."""

    by_date: bool = False
    notes: tuple[str, ...] = ()
    """What is odd about it: a number that is missing in the middle."""

    @property
    def newest(self) -> int:
        """The span that is evaluated; 0: the data does not come in spans."""
        return self.spans[-1] if self.spans else 0

    def name(self, span: int) -> str:
        """The span as a user writes it: `2`, or `2025-07-01`."""
        return span_name(span, by_date=self.by_date)


def resolve_window(loaded: LoadedTask) -> SpanWindow:
    """The spans that a run of a task takes.

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
    found = _spans_of_all_splits(loaded, by_date=by_date)
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
        notes=tuple(_notes(spans, by_date=by_date)),
    )


def has_span(pattern: str) -> bool:
    """Whether a file pattern names spans."""
    return any(match[1] == "SPAN" or match[3] for match in _SPEC.finditer(pattern))


def as_glob(pattern: str) -> str:
    """A file pattern that matches every span and version: `span-{SPAN}/*.csv` -> `span-*/*.csv`."""
    return _SPEC.sub("*", pattern)


def span_name(span: int, *, by_date: bool) -> str:
    """20270 -> `2025-07-01` where spans are dates; else the number."""
    return str(_EPOCH + datetime.timedelta(days=span)) if by_date else str(span)


def parse_span(text: str) -> int:
    """A span as it is typed: `2`, or a date `2025-07-01`, which is 20270.

    Raises:
        UserError: it is neither.
    """
    try:
        return int(text) if text.isdigit() else (datetime.date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise UserError(f"{text!r} is not a span; give a number (2), or a date (2025-07-01)") from None


def list_spans(data_dir: Path, pattern: str) -> list[int]:
    """Numbers of the spans of which there is a file, ascending.

    Args:
        data_dir: folder of the data.
        pattern: with {SPAN} or {YYYY}, {MM}, {DD}; may hold {VERSION}, * and ?.
    """
    expression = re.compile(_regex(pattern))
    spans = set()
    for path in data_dir.glob(as_glob(pattern)):
        match = expression.fullmatch(path.relative_to(data_dir).as_posix())
        if match and (span := _number(match.groupdict())) is not None:
            spans.add(span)
    return sorted(spans)


def _regex(pattern: str) -> str:
    """`{SPAN}/a?csv` -> `(?P<SPAN>[0-9]+)/a[^/]csv`."""
    parts, at = [], 0
    for match in _SPEC.finditer(pattern):
        parts.append(_escape(pattern[at : match.start()]))
        width = match[2] or _DATE_WIDTHS.get(match[3] or "")
        parts.append(f"(?P<{match[1] or match[3]}>[0-9]{f'{{{width}}}' if width else '+'})")
        at = match.end()
    return "".join([*parts, _escape(pattern[at:])])


def _escape(literal: str) -> str:
    return re.escape(literal).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _number(groups: dict[str, str]) -> int | None:
    """The span of a path; None where the digits are no date."""
    if "SPAN" in groups:
        return int(groups["SPAN"])
    try:
        return (datetime.date(*(int(groups[part]) for part in ("YYYY", "MM", "DD"))) - _EPOCH).days
    except ValueError:
        return None


def _spans_of_all_splits(loaded: LoadedTask, *, by_date: bool) -> list[int]:
    """Spans that every split has.

    Raises:
        UserError: there is none, or the newest of one split is lacking in another.
    """
    patterns = loaded.task.data.files
    found = {split: list_spans(loaded.data_dir, pattern) for split, pattern in patterns.items()}
    for split, spans in found.items():
        if not spans:
            raise UserError(f"data.files.{split}: no file matches {loaded.data_dir / patterns[split]}")
    everywhere = set.intersection(*(set(spans) for spans in found.values()))
    wanted = loaded.task.data.span or max(max(spans) for spans in found.values())
    for split, spans in found.items():
        if wanted not in spans and any(wanted in other for other in found.values()):
            raise UserError(
                f"data.files.{split}: span {span_name(wanted, by_date=by_date)} has no file of this split "
                f"({loaded.data_dir / patterns[split]}); add it, or give SPAN= an older one: "
                f"there {_list(sorted(everywhere), by_date=by_date)}"
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
