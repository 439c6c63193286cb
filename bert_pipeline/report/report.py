"""The verb `report`: opens the newest report, or rewrites that of an older run."""

from __future__ import annotations

import dataclasses
import os
import sys
import webbrowser
from pathlib import Path

from bert_pipeline.history.compare import choose
from bert_pipeline.history.task_store import task_store
from bert_pipeline.metadata.run_history import read_history
from bert_pipeline.report.after_run import write_report
from bert_pipeline.report.source import Source
from bert_pipeline.settings import config, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import in_use
from bert_pipeline.settings.requests import PastRequest
from bert_pipeline.settings.run_log import quiet_library_loggers, run_log
from bert_pipeline.settings.whole_file import write_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(PastRequest):
    """Arguments of `report`."""

    wanted: str
    """Number, run id or version of a run; empty for the newest."""

    no_open: bool
    """Whether to skip opening a browser."""


def run(request: Request) -> int:
    """Prints the report's path and opens it in a browser; returns 0.

    Raises:
        UserError: no run yet, or none of that name.
    """
    paths = request.paths
    page = _written_anew(request, request.wanted) if request.wanted else paths.newest_report
    if not page.is_file():
        page = _written_anew(request, "")
    print(f"report    {page}")
    if not request.no_open and not _open(page):
        print("          no browser was found here; open it with one, it needs no network")
    return 0


def _written_anew(request: Request, wanted: str) -> Path:
    store, paths = task_store(request)
    history = read_history(store, task=paths.task_name)
    runs = choose(history, [wanted] if wanted else [], last=1)
    if not runs:
        raise UserError(
            f"there is no run of task {paths.task_name} in {paths.root} to report on; "
            f"{typed.command('pipeline')} first"
        )
    # Use the task file's current limit; the run's setting may predate a privacy decision.
    num_examples = config.task_settings(request.task).report.examples
    source = Source(store, history, runs[-1], paths, num_examples=num_examples)
    newest = paths.newest_report.read_text(encoding="utf-8") if paths.newest_report.is_file() else None
    with in_use(paths), run_log(paths.logs / "report.log", verbose=False):
        quiet_library_loggers()
        page = write_report(source)
    if newest is not None and source.run != history.runs[-1]:
        write_whole(paths.newest_report, newest)  # an older run's report does not replace the newest
    return page


def _open(page: Path) -> bool:
    """Opens the page; returns False without a browser."""
    is_headless = sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    return not is_headless and webbrowser.open(page.as_uri())
