"""The verb `label`: labels a file or folder of texts with the model in service."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "label a file or folder of texts with the model in service"
    parser = common.add_verb(
        verbs, "label", text, common.Verb("running.label", logged=True, needs_run="files", writes=True)
    )
    common.add_task(parser)
    parser.add_argument(
        "--texts", type=argument_types.table, required=True, help=".csv or .parquet file, or a folder of them"
    )
    parser.add_argument(
        "--to",
        type=argument_types.target(".csv", ".parquet"),
        default="labelled.csv",
        help="table to write: .csv or .parquet",
    )
