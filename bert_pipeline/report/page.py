"""Sections -> one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jinja2

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.report import (
    confusions,
    examples,
    metrics,
    moved,
    origin,
    probabilities,
    running,
    texts,
    thin,
    training,
    verdict,
)
from bert_pipeline.report.answers import Answers
from bert_pipeline.report.blocks import Section
from bert_pipeline.report.source import Source


def sections(source: Source, slices: Sequence[SliceMetrics], answers: Answers | None) -> list[Section]:
    """Everything that the page shows, in its order.

    Args:
        source: of the run.
        slices: of the evaluation, all data first; empty: there was none.
        answers: to the single examples; None: not recorded.
    """
    builders: tuple[Callable[[], Section], ...] = (
        partial(verdict.section, source),
        partial(metrics.section, source, slices),
        partial(confusions.section, source, slices),
        partial(probabilities.section, source, slices, answers),
        partial(training.section, source),
        partial(texts.section, source),
        partial(moved.section, source),
        partial(examples.section, source, answers),
        partial(confusions.cost_section, source, slices),
        partial(thin.section, source),
        partial(origin.section, source),
        partial(running.time_section, source),
        partial(running.settings_section, source),
    )
    return [build() for build in builders]


def environment() -> jinja2.Environment:
    """Templates beside this file; HTML is escaped, Markdown is not, and a name that is not there is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("bert_pipeline.report"),
        autoescape=jinja2.select_autoescape(("html.j2", "html")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def as_html(source: Source, slices: Sequence[SliceMetrics], answers: Answers | None) -> str:
    """The page."""
    template = environment().get_template("report.html.j2")
    return template.render(
        headline=verdict.headline(source),
        task=source.history.task,
        description=source.settings.get("description", ""),
        run=source.run.number,
        when=source.run.name[:16].replace("T", " "),
        sections=sections(source, slices, answers),
    )
