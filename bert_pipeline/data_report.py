"""What the summary says of a run's data: spans, and what moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ml_metadata.proto import metadata_store_pb2

from bert_pipeline.components import example_validator
from bert_pipeline.spans import SpanWindow


@dataclasses.dataclass(frozen=True)
class DataReport:
    """The data of one run."""

    trained_on: tuple[str, ...] = ()
    """Names of the spans, the oldest first; empty: the data does not come in spans."""

    evaluated_on: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, window: SpanWindow, *, notes: tuple[str, ...]) -> DataReport:
        """The report of a window.

        Args:
            window: the spans of the run.
            notes: of reading them.
        """
        names = tuple(window.name(span) for span in window.spans)
        return cls(trained_on=names, evaluated_on=names[-1] if names else "", notes=notes)

    def with_anomalies(self, validator: Mapping[str, metadata_store_pb2.Artifact]) -> DataReport:
        """Adds the notes of ExampleValidator.

        Args:
            validator: its output artifacts.
        """
        properties = validator["anomalies"].custom_properties if "anomalies" in validator else {}
        text = (
            properties[example_validator.NOTES].string_value if example_validator.NOTES in properties else ""
        )
        return dataclasses.replace(self, notes=(*self.notes, *text.splitlines()))

    def lines(self) -> Iterator[str]:
        """Lines of the summary for people."""
        if self.trained_on:
            plural = "s" if len(self.trained_on) > 1 else ""
            yield (
                f"data      trained on span{plural} {', '.join(self.trained_on)}; "
                f"evaluated on span {self.evaluated_on}"
            )
        yield from (f"note      {note}" for note in self.notes)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "trained_on_spans": list(self.trained_on),
            "evaluated_on_span": self.evaluated_on,
            "data_notes": list(self.notes),
        }
