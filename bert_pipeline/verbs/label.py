"""The verb `label`: labels a file or folder of texts with the model in service."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "label a file or folder of texts with the model in service"
    parser = common.add_verb(verbs, "label", text, run=_run, needs_run="files", writes=True)
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


def _run(arguments: argparse.Namespace) -> int:
    with common.logged(arguments, "label"):
        from bert_pipeline.running import label
        from bert_pipeline.settings.run_log import quiet_library_loggers

        quiet_library_loggers()
        return label.main(arguments)
