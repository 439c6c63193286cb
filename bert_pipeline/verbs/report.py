"""The verb `report`: opens the report of a run, or writes an older run's again."""

from __future__ import annotations

from typing import Any

from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "report",
        "open the newest report, or write an older run's again",
        common.Verb("report.report", needs_run="record", reads_record=True, writes=True),
    )
    common.add_past(parser)
    parser.add_argument(
        "wanted", nargs="?", default="", help="number, run id or version of a run; default: the newest"
    )
    parser.add_argument("--no-open", action="store_true", help="print the path, open no browser")
