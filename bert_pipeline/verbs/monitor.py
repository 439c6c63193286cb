"""The verb `monitor`: judges the model in service by its traffic."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "judge the model in service by its traffic: fine, watch or retrain"
    parser = common.add_verb(
        verbs, "monitor", text, common.Verb("monitoring.monitor", logged=True, needs_run="files", writes=True)
    )
    common.add_task(parser)
    parser.add_argument("--logs", default="", help="folder of request logs; default: OUT/TASK/requests")
    parser.add_argument(
        "--labels", type=argument_types.file, default="", help="CSV of id and label, and columns to slice by"
    )
    parser.add_argument(
        "--context",
        type=argument_types.file,
        default="",
        help="CSV of id and columns to slice by, known without labels",
    )
    parser.add_argument("--version", type=argument_types.count(0), help="default: the one in service")
    parser.add_argument(
        "--compare", type=argument_types.count(0), default=0, help="another pushed version, for agreement"
    )
    parser.add_argument(
        "--prometheus",
        type=argument_types.prometheus_file,
        default="",
        help="file to write for the textfile collector",
    )
