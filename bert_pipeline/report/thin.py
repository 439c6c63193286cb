"""Where the evaluation data is too thin to tell anything: what Coverage found."""

from __future__ import annotations

from bert_pipeline.components.coverage import COVERAGE_FILE, read_report
from bert_pipeline.data import coverage
from bert_pipeline.report.blocks import List, Section, Table, Text, count
from bert_pipeline.report.source import Source

_KINDS = {
    "slice": "few eval examples",
    "missing": "none in eval",
}


def section(source: Source) -> Section:
    """Sentences, and a table of all places."""
    folder = source.folder("Coverage", "report")
    if folder is None or not (folder / COVERAGE_FILE).exists():
        why = "It was not looked for: evaluation.coverage is false, or the run stopped before."
        return Section("coverage", "Coverage", (Text(why),))
    found = read_report(str(folder))
    if not found:
        return Section("coverage", "Coverage", (Text("The evaluation data is thin nowhere."),))
    rows = tuple((t.name, _KINDS.get(t.kind, t.kind), count(t.num_train), count(t.num_eval)) for t in found)
    table = Table("Thin places", ("where", "what", "train", "eval"), rows, folded=True)
    return Section("coverage", "Coverage", (List(tuple(coverage.sentences(found))), table))
