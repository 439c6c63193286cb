"""The verb `new-task`: looks at a data set and writes a task file."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs, "new-task", "write a task file for a data set", common.Verb("new_task.new_task")
    )
    parser.add_argument("--name", required=True, help="of the task: letters, digits and _")
    parser.add_argument("--data", required=True, help="file, folder, or hf:HANDLE of the Hugging Face hub")
    parser.add_argument("--text", action="append", default=[], help="text column; twice for a pair")
    parser.add_argument("--label", default="", help="label column")
    parser.add_argument("--slice", action="append", default=[], help="column to report metrics by")
    parser.add_argument("--out", default="out", type=argument_types.out_folder, help="where runs write")
    parser.add_argument(
        "--force", action="store_true", help="replace a task of that name; the old one is kept as .bak"
    )
    parser.add_argument(
        "--header",
        choices=("yes", "no"),
        help="whether the first record of a CSV names its columns; default: found",
    )
    parser.add_argument(
        "--encoding", default="", help="of a CSV or JSON file; default: found from the whole file"
    )
    parser.add_argument(
        "--merge_labels",
        "--merge-labels",
        action="store_true",
        help="make one of labels that differ only in case, blanks or notation",
    )
    parser.add_argument(
        "--drop_label", "--drop-label", action="append", default=[], help="leave out the rows with this label"
    )
