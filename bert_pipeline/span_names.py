"""Spans of the past as people write them: `2`, or `2025-07-01` where a task's spans are dates."""

from __future__ import annotations

from bert_pipeline import run_record
from bert_pipeline.history import History
from bert_pipeline.spans import span_name


def name_of_span(history: History, span: int) -> str:
    """The span as a user writes it; a number where no run has recorded its settings; empty for 0: no span.

    Example:
        >>> name_of_span(history, 20270)  # data.files = {"all": "{YYYY}-{MM}-{DD}/rows.csv"}
        '2025-07-01'
    """
    if not span:
        return ""
    for run in reversed(history.runs):
        settings = run_record.settings_of(run.properties)
        if settings:
            patterns = (str(v) for key, v in settings.items() if key.startswith("data.files."))
            return span_name(span, by_date=any("{YYYY}" in pattern for pattern in patterns))
    return str(span)
