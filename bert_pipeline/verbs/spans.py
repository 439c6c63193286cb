"""The verb `spans`: cuts dated CSV files into spans."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(verbs, "spans", "cut dated CSV files into spans", common.Verb("data.cut_spans"))
    parser.add_argument(
        "--csv", type=argument_types.file, nargs="+", required=True, help="files with the same columns"
    )
    parser.add_argument("--date", required=True, help="the column with dates, ISO 8601")
    parser.add_argument("--by", choices=("day", "week", "month"), default="week")
    parser.add_argument("--to", required=True, help="folder; gets one folder a span, YYYY-MM-DD")
