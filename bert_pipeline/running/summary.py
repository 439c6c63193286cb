"""The summary of a run: data, components, metrics beside the baseline's, the verdict, the next command."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from bert_pipeline.components import coverage, example_validator, labelled_table
from bert_pipeline.data.spans import SpanWindow
from bert_pipeline.evaluation.read import EvaluationReport, ends, metric_lines, read_report
from bert_pipeline.metadata.database import output_artifacts
from bert_pipeline.metadata.run_record import chosen_on, read_record
from bert_pipeline.running.local_runner import NodeResult
from bert_pipeline.settings import typed
from bert_pipeline.settings.config import LoadedTask
from bert_pipeline.settings.paths import RunPaths


@dataclasses.dataclass(frozen=True)
class DataReport:
    """The data of one run."""

    trained_on: tuple[str, ...] = ()
    """Names of the spans, oldest first; empty if the data has no spans."""

    evaluated_on: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, window: SpanWindow, *, notes: tuple[str, ...]) -> DataReport:
        """The report of a window.

        Args:
            window: the spans of the run.
            notes: from reading them.
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
        """Lines of the text summary."""
        if self.trained_on:
            plural = "s" if len(self.trained_on) > 1 else ""
            yield (
                f"data      trained on span{plural} {', '.join(self.trained_on)}; "
                f"evaluated on span {self.evaluated_on}"
            )
        yield from (f"note      {note}" for note in self.notes)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "trained_on_spans": list(self.trained_on),
            "evaluated_on_span": self.evaluated_on,
            "data_notes": list(self.notes),
        }


# They always run and are cheap: not counted as work.
_ALWAYS_RUN = ("OlderSpans", "WarmStart", "Baseline", "Pusher")


@dataclasses.dataclass(frozen=True)
class RunReport:
    """The content of the summary."""

    task: str
    results: tuple[NodeResult, ...]
    evaluation: EvaluationReport
    pushed: bool
    """Whether this run copied a version."""

    in_service: bool
    """Whether the candidate is served now, pushed by this run or an earlier one."""

    version: str
    """Version in service; empty if none."""

    model_dir: str
    reasons: tuple[str, ...]
    """Reasons for a refusal, or for not pushing."""

    labelled: str
    """The table of labelled texts; empty if none."""

    thin: tuple[str, ...]
    """Slices and values with too few eval examples."""

    epoch: str
    """The epoch of the model's weights, and the data that selected it; empty without a training record."""

    wall_seconds: float
    data: DataReport


def collect(
    results: Sequence[NodeResult],
    *,
    connection: metadata_store_pb2.ConnectionConfig,
    loaded: LoadedTask,
    paths: RunPaths,
    data: DataReport,
    seconds: float,
) -> RunReport:
    """Builds the report from the artifacts of a run.

    Args:
        results: of the runner.
        connection: of ML Metadata.
        loaded: the task.
        paths: of the run.
        data: the spans of the run.
        seconds: wall time of the run so far.
    """
    by_id = {result.node_id: result for result in results}
    with metadata.Metadata(connection) as handle:
        validated = outputs(handle.store, by_id.get("ExampleValidator"))
        served = outputs(handle.store, by_id.get("ServingValidator"))
        evaluator = outputs(handle.store, by_id["Evaluator"])
        validator = outputs(handle.store, by_id["InfraValidator"])
        push = outputs(handle.store, by_id["Pusher"])["pushed_model"]
        table = outputs(handle.store, by_id.get("LabelledTable")).get("table")
        thin = outputs(handle.store, by_id.get("Coverage")).get("report")
        model_run = outputs(handle.store, by_id.get("Trainer")).get("model_run")
    record = read_record(Path(model_run.uri)) if model_run else {}
    evaluation = read_report(evaluator["evaluation"].uri, task=loaded.task)
    version, reason = _text(push, "pushed_version"), _text(push, "reason")
    pushed = _number(push, "pushed") == 1
    reasons = list(evaluation.refusals)
    if _number(validator["blessing"], "blessed") != 1:
        reasons.append(_text(validator["blessing"], "reason"))
    return RunReport(
        task=loaded.task.name,
        results=tuple(results),
        evaluation=evaluation,
        pushed=pushed,
        in_service=_number(push, "in_service") == 1,
        version=version,
        model_dir=str(paths.push_destination / version) if version else "",
        reasons=tuple(reasons) if reasons or pushed else (reason,),
        labelled=_table_path(table, loaded=loaded) if table else "",
        thin=tuple(coverage.sentences(coverage.read_report(thin.uri))) if thin else (),
        epoch=chosen_on(record) if record else "",
        wall_seconds=seconds,
        data=data.with_anomalies(validated).with_anomalies(served),
    )


def _table_path(table: metadata_store_pb2.Artifact, *, loaded: LoadedTask) -> str:
    if not _number(table, labelled_table.NUM_ROWS):
        return ""  # the model was not blessed
    return str(labelled_table.table_path(table.uri, loaded.task.bulk_inference.format))


def outputs(store: MetadataStore, result: NodeResult | None) -> dict[str, metadata_store_pb2.Artifact]:
    """Output key to artifact of an execution that ran or was cached."""
    if result is None or not result.execution_id:
        return {}
    return output_artifacts(store, result.execution_id)


def _text(artifact: metadata_store_pb2.Artifact, key: str) -> str:
    return artifact.custom_properties[key].string_value if key in artifact.custom_properties else ""


def _number(artifact: metadata_store_pb2.Artifact, key: str) -> int:
    return artifact.custom_properties[key].int_value if key in artifact.custom_properties else 0


def as_json(report: RunReport) -> str:
    """The summary as JSON; NaN becomes null."""
    overall = report.evaluation.overall
    values = {
        "task": report.task,
        "verdict": _verdict(report),
        "in_service": report.in_service,
        "version": report.version,
        "reasons": report.reasons,
        "metrics": _without_nan(overall.metrics),
        "intervals": ends(overall.intervals),
        "baseline": _without_nan(overall.baseline),
        "change_intervals": ends(overall.changes),
        "num_examples": overall.num_examples,
        "slices": {
            s.slice: {
                "num_examples": s.num_examples,
                "metrics": _without_nan(s.metrics),
                "baseline": _without_nan(s.baseline),
                "intervals": ends(s.intervals),
            }
            for s in report.evaluation.slices
        },
        "epoch": report.epoch,
        **report.data.as_json(),
        "held": report.evaluation.held,
        "behind": report.evaluation.behind,
        "thin": report.thin,
        "notes": report.evaluation.notes,
        "components": {r.node_id: {"state": r.state, "seconds": round(r.seconds, 3)} for r in report.results},
        "wall_seconds": round(report.wall_seconds, 3),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in sorted(values.items())}


def as_text(report: RunReport, *, also: Sequence[str] = (), seconds: str = "") -> str:
    """The summary as text.

    Args:
        report: of the run.
        also: lines to insert before the last, which gives the next command.
        seconds: in place of the run's wall time.
    """
    *lines, last = _verdict_lines(report, seconds=seconds or f"{report.wall_seconds:.1f}")
    return "\n".join(["", *metric_lines(report.evaluation), "", *lines, *also, last])


def _verdict(report: RunReport) -> str:
    if report.pushed:
        return "pushed"
    return "in service already" if report.in_service else "refused"


def _verdict_lines(report: RunReport, *, seconds: str) -> Iterator[str]:
    ran = [r.node_id for r in report.results if r.state == "ran" and r.node_id not in _ALWAYS_RUN]
    if report.pushed:
        beside = "also beside the baseline" if report.evaluation.has_baseline else "there was no baseline yet"
        yield f"verdict   blessed: every gate held, {beside}; pushed as version {report.version}"
    elif report.in_service:
        what = "nothing was trained, evaluated or pushed" if not ran else "nothing was pushed"
        yield f"verdict   unchanged: version {report.version} in service is this very model; {what}"
    else:
        yield "verdict   REFUSED; what was in service stays"
        yield from (f"          {reason}" for reason in report.reasons)
    if ran:
        yield from (f"held      {line}" for line in report.evaluation.held)
    yield from (f"behind    {line}" for line in report.evaluation.behind)
    if report.epoch:
        yield f"training  {report.epoch}"
    yield from report.data.lines()
    yield from (f"thin      {line}" for line in report.thin)
    yield from (f"note      {note}" for note in report.evaluation.notes)
    yield from (
        f"warning   {r.node_id} {r.state}: {r.error or 'what it needs failed'}; the push is not affected"
        for r in report.results
        if r.state in ("failed", "skipped")
    )
    if report.model_dir:
        yield f"model     {report.model_dir}"
    if report.labelled:
        yield f"labelled  {report.labelled}"
    yield f"time      {seconds} s, {len(ran)} of {len(report.results)} components ran"
    if report.in_service:
        yield f"next      {typed.command('serve', task=report.task)}"
    else:
        yield f"next      change the task or the data, then: {typed.command('pipeline', task=report.task)}"
