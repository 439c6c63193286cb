"""The report at the end of a run: whatever becomes of it, the run's result stands."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from ml_metadata import MetadataStore

from bert_pipeline.report import writing
from bert_pipeline.settings.paths import RunPaths


@dataclasses.dataclass(frozen=True)
class Reports:
    """Writes the reports of a task's runs."""

    store: MetadataStore
    paths: RunPaths
    num_examples: int
    """`report.examples`."""

    say: Callable[[str], None]

    def lines(self, run_name: str) -> list[str]:
        """Writes the report of a run whose record is closed.

        Args:
            run_name: TFX's run id.

        Returns:
            Lines for the summary: where the report lies, or why there is none.
        """
        try:
            source = writing.source_of(
                self.store, paths=self.paths, run_name=run_name, num_examples=self.num_examples
            )
            page = writing.earlier_report(source)
            if page is not None:
                writing.make_newest(self.paths, page)
            else:
                page = writing.write_report(source).page
        # A report is advice: whatever is wrong with it changes nothing of how a run ends.
        except Exception as error:
            logging.getLogger(__name__).exception("no report was written")
            return [
                f"note      no report was written: {type(error).__name__}: {error}; the run's result stands"
            ]
        return [f"report    {page}"]

    def tell(self, run_name: str) -> None:
        """The same, said at once: for a run that has no summary because it stopped."""
        for line in self.lines(run_name):
            self.say(line)
