"""Writes the report of a run and its model card, whole or not at all, and remembers which is the newest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from ml_metadata import MetadataStore

from bert_pipeline.metadata.run_history import RUN_TYPE, History, Run, read_history
from bert_pipeline.report.source import Source
from bert_pipeline.serving_folder.atomic_push import EXTRA_DIR
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.whole_file import write_whole

CARD_FILE = "model_card.md"
_UNCHANGED = "in service already"


@dataclasses.dataclass(frozen=True)
class Written:
    """Where a report lies."""

    page: Path
    card: Path | None
    """None: the run made no model."""


def write_report(source: Source) -> Written:
    """Makes the report of a run from what is recorded, and makes it the newest.

    Args:
        source: the run.

    Returns:
        The page and the model card, in `reports/<run>/`; a pushed version that is still there also gets the card.
    """
    # matplotlib and the templates are loaded here: nobody pays for them who writes no report.
    from bert_pipeline.evaluation.slices import read_slices
    from bert_pipeline.report import model_card, page
    from bert_pipeline.report.answers import read_answers

    evaluation = source.folder("Evaluator", "evaluation")
    found = read_slices(str(evaluation), labels=source.labels) if evaluation and source.summary else []
    slices = sorted(
        found, key=lambda s: (bool(s.slice), list(source.summary["slices"]).index(s.slice) if s.slice else 0)
    )
    answers = read_answers(evaluation) if evaluation and source.summary else None
    folder = source.paths.report_dir(source.run.name)
    written = write_whole(folder / "index.html", page.as_html(source, slices, answers))
    card = None
    if slices:
        text = model_card.as_markdown(source, slices)
        card = write_whole(folder / CARD_FILE, text)
        version = source.paths.push_destination / str(source.summary.get("version") or "-")
        if source.outcome == "pushed" and version.is_dir():
            write_whole(version / EXTRA_DIR / CARD_FILE, text)
    make_newest(source.paths, written)
    return Written(written, card)


def make_newest(paths: RunPaths, page: Path) -> None:
    """Lets `report.html` be a copy of a run's page."""
    write_whole(paths.newest_report, page.read_text(encoding="utf-8"))


def source_of(store: MetadataStore, *, paths: RunPaths, run_name: str, num_examples: int) -> Source:
    """The facts of one run.

    Args:
        store: ML Metadata.
        paths: of the task.
        run_name: TFX's run id.
        num_examples: `report.examples`.

    Raises:
        UserError: ML Metadata does not know the run.
    """
    history = read_history(store, task=paths.task_name)
    run = next((run for run in history.runs if run.name == run_name), None)
    context = store.get_context_by_type_and_name(RUN_TYPE, run_name)
    if run is None and context is not None:
        # It stopped while older spans were read, before anything of its own was executed: it has no number.
        values = {key: value.string_value for key, value in context.custom_properties.items()}
        run = Run(0, run_name, values, ())
    if run is None:
        raise UserError(f"ML Metadata knows no run {run_name} of task {paths.task_name}")
    return Source(store=store, history=history, run=run, paths=paths, num_examples=num_examples)


def earlier_report(source: Source) -> Path | None:
    """The page of the run whose evaluation this one found in its cache; None: this run has something new to tell.

    A run that finds its model in service has nothing to add to the report of the run that put it there.
    """
    evaluation = source.artifact("Evaluator", "evaluation")
    if source.outcome != _UNCHANGED or evaluation is None:
        return None
    pages = (source.paths.report_dir(run.name) / "index.html" for run in _with(source.history, evaluation.id))
    return next((page for page in pages if page.is_file()), None)


def _with(history: History, evaluation: int) -> Iterator[Run]:
    """Runs that have an evaluation, the newest first."""
    for run in reversed(history.runs):
        outputs = (history.executions[i].outputs.get("evaluation", ()) for i in run.executions)
        if any(evaluation in ids for ids in outputs):
            yield run
