"""Writes a run's report and model card atomically; a failure does not change the run's result."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from ml_metadata import MetadataStore

from bert_pipeline.report.source import Source, source_of
from bert_pipeline.serving_folder.atomic_push import EXTRA_DIR
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.whole_file import write_whole

_CARD_FILE = "model_card.md"


@dataclasses.dataclass(frozen=True)
class Reports:
    """Writes the reports of a task's runs."""

    store: MetadataStore
    paths: RunPaths
    num_examples: int
    """`report.examples`."""

    say: Callable[[str], None]

    def lines(self, run_name: str) -> list[str]:
        """Writes the report of a run whose record is complete.

        Args:
            run_name: TFX's run id.

        Returns:
            Lines for the summary: the report's path, or why there is none.
        """
        try:
            source = source_of(
                self.store, paths=self.paths, run_name=run_name, num_examples=self.num_examples
            )
            page = _earlier_report(source)
            if page is not None:
                _make_newest(self.paths, page)
            else:
                page = write_report(source)
        # A report is optional: its errors do not change the run's result.
        except Exception as error:
            logging.getLogger(__name__).exception("no report was written")
            return [
                f"note      no report was written: {type(error).__name__}: {error}; the run's result stands"
            ]
        return [f"report    {page}"]

    def tell(self, run_name: str) -> None:
        """Writes the report and prints its lines, for a run that stopped without a summary."""
        for line in self.lines(run_name):
            self.say(line)


def write_report(source: Source) -> Path:
    """Writes the report of a run from its records, and makes it the newest.

    Args:
        source: the run.

    Returns:
        The page, in `reports/<run>/`. The model card, if the run made a model, is beside it and in its pushed
        version, if that still exists.
    """
    # Import matplotlib and the templates here, so only reports pay for them.
    from bert_pipeline.evaluation.slices import read_slices
    from bert_pipeline.report import answers, card, data, evaluation, page, training

    folder = source.folder("Evaluator", "evaluation") if source.summary else None
    slices = read_slices(str(folder), labels=source.labels) if folder else []
    order = ["", *source.summary.get("slices", ())]  # all data first
    slices.sort(key=lambda row: order.index(row.slice))
    given = answers.read_answers(folder) if folder else None
    sections = [
        evaluation.verdict(source),
        evaluation.metrics(source, slices),
        evaluation.confusion(source, slices),
        answers.probabilities(source, slices, given),
        training.training(source),
        data.texts(source),
        data.drift(source),
        answers.examples(source, given),
        evaluation.cost(source, slices),
        evaluation.thin(source),
        training.lineage(source),
        training.time(source),
        training.settings(source),
    ]
    html = page.as_html(source, evaluation.headline(source), sections)
    written = write_whole(source.paths.report_dir(source.run.name) / "index.html", html)
    if slices:
        text = card.as_markdown(source, slices)
        write_whole(written.with_name(_CARD_FILE), text)
        version = source.paths.push_destination / str(source.summary.get("version") or "-")
        if source.outcome == "pushed" and version.is_dir():
            write_whole(version / EXTRA_DIR / _CARD_FILE, text)
    _make_newest(source.paths, written)
    return written


def _make_newest(paths: RunPaths, page: Path) -> None:
    """Copies a run's page to `report.html`."""
    write_whole(paths.newest_report, page.read_text(encoding="utf-8"))


def _earlier_report(source: Source) -> Path | None:
    """The page of the run whose evaluation this run found in its cache; None if this run has new results.

    A run that finds its model in service has nothing to add to the report of the run that put it there.
    """
    evaluation = source.artifact("Evaluator", "evaluation")
    if source.outcome != "in service already" or evaluation is None:
        return None
    for run in reversed(source.history.runs):
        page = source.paths.report_dir(run.name) / "index.html"
        outputs = (source.history.executions[i].outputs.get("evaluation", ()) for i in run.executions)
        if page.is_file() and any(evaluation.id in ids for ids in outputs):
            return page
    return None
