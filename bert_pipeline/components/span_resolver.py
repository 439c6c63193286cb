"""Passes artifacts of older spans to the graph that ingests the newest one."""

from __future__ import annotations

from collections.abc import Sequence

from ml_metadata import MetadataStore
from tfx import types
from tfx import v1 as tfx

# Keys of the resolver.
EXAMPLES = "examples"
STATISTICS = "statistics"
NEWEST = "newest"


class SpanStrategy(tfx.dsl.experimental.ResolverStrategy):
    """Resolves the Examples of a window of spans, and the statistics of the previous span.

    TFX's SpanRangeStrategy takes every artifact of a span, even if its files have changed since. This strategy
    takes ids: `older_spans.py` has just checked that the artifacts match the current files.
    """

    def __init__(self, example_ids: Sequence[int], statistics_ids: Sequence[int]) -> None:
        """Sets the ids of the older spans' Examples, oldest first, and of the reference's statistics."""
        self._example_ids = list(example_ids)
        self._statistics_ids = list(statistics_ids)

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves the window.

        Args:
            store: ML Metadata; unused.
            input_dict: `examples`, `statistics`: all of the pipeline; `newest`: the Examples of this run.

        Returns:
            `examples`: of the older spans, then the newest; `statistics`: of the previous span, if any;
            `newest`: nothing.
        """
        del store
        examples = {artifact.id: artifact for artifact in input_dict[EXAMPLES]}
        statistics = {artifact.id: artifact for artifact in input_dict[STATISTICS]}
        return {
            # Not also under this key: ML Metadata stores one event per artifact and execution.
            NEWEST: [],
            EXAMPLES: [*(examples[i] for i in self._example_ids), *input_dict[NEWEST]],
            STATISTICS: [statistics[i] for i in self._statistics_ids],
        }
