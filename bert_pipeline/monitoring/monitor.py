"""The verb `monitor`: compares live traffic with the push and the training; the exit status is the verdict."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from bert_pipeline.data import drift, text_features
from bert_pipeline.data.text_features import TextFeatures
from bert_pipeline.encoders import resolve
from bert_pipeline.evaluation.slices import read_slices
from bert_pipeline.metadata import database
from bert_pipeline.monitoring import late_labels, live_evaluation, report, request_logs, weak_labels
from bert_pipeline.monitoring.late_labels import Join
from bert_pipeline.monitoring.request_logs import LoggedText
from bert_pipeline.monitoring.served_model import ServedModel, find_served
from bert_pipeline.monitoring.verdict import EXIT_STATUS, Change, changes, drift_alpha, judge
from bert_pipeline.running import notices
from bert_pipeline.serving_folder import unfinished
from bert_pipeline.settings import argument_types, config
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths, one_monitor
from bert_pipeline.settings.requests import GraphRequest
from bert_pipeline.settings.sections import TaskConfig
from bert_pipeline.settings.whole_file import write_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(GraphRequest):
    """Arguments of `monitor`."""

    logs: str
    """Folder of request logs; empty for the task's."""

    labels: str
    """CSV of id and label; empty for none."""

    context: str
    """CSV of id and slice columns; empty for none."""

    version: int | None
    """The version to judge; None for the version in service."""

    compare: int
    """Another pushed version, for agreement; 0 for none."""

    prometheus: str
    """File to write; empty for none."""


def run(request: Request) -> int:
    """Runs the verb: `--task --out --logs --labels --context --version --compare --prometheus --metadata`.

    Returns:
        0 fine, 10 watch, 20 retrain.

    Raises:
        UserError: no traffic, no model in service, or a file that cannot be used.
    """
    paths = request.paths
    with one_monitor(paths):
        return _monitor(request, request.load().task, paths)


def _monitor(request: Request, task: TaskConfig, paths: RunPaths) -> int:
    connection = database.connection_config(request.metadata, sqlite_path=paths.metadata)
    store = database.open_store(connection, must_exist=True)
    unfinished.settle_if_free(store, paths)
    served = find_served(store, paths, version=request.version)
    logs = request_logs.read_folder(Path(request.logs) if request.logs else paths.root / "requests")
    texts, told = _of_version(logs, served=served, task=task)
    joined = (
        late_labels.join(texts, Path(request.labels), label=task.data.label, labels=task.data.labels)
        if request.labels
        else late_labels.without_labels(texts)
    )
    if request.context:
        joined = late_labels.with_context(joined, Path(request.context))
    found = _changes(joined, served, task=task, paths=paths, store=store, connection=connection)
    looks = report.looks_before(
        paths.root / "monitoring",
        version=served.version.version,
        num_texts=len(texts),
        num_labelled=len(joined.labelled),
    )
    alpha = drift_alpha(task.monitoring, look=1 + looks[0], has_labels=bool(found))
    drifts = _drifts(joined, served, task=task, alpha=alpha)
    agreements = _agreements(request, texts, task=task, paths=paths)
    made = report.Report(
        task=task.name,
        version=served.version.version,
        metric=task.monitoring.metric,
        num_texts=len(texts),
        seconds=(min(text.second for text in texts), max(text.second for text in texts)),
        told=(
            *told,
            *joined.told,
            *late_labels.without_value(joined.labelled, slices=task.evaluation.slices),
        ),
        changes=tuple(found),
        drifts=tuple(drifts),
        agreements=tuple(agreements),
        verdict=judge(
            found,
            drifts=drifts,
            agreements=agreements,
            config=task.monitoring,
            gated={gate.slice for gate in task.evaluation.gates},
            look=1 + looks[1],
        ),
        look=1 + looks[1],
    )
    _write(made, paths=paths, prometheus=request.prometheus)
    print(report.as_text(made), flush=True)
    notices.send(report.event_of(made), config=task.notices)
    return EXIT_STATUS[made.verdict.level]


def _of_version(
    logs: request_logs.RequestLogs, *, served: ServedModel, task: TaskConfig
) -> tuple[list[LoggedText], list[str]]:
    """The texts that the version answered, and notes on other records in the logs."""
    version = served.version.version
    texts = [
        text
        for text in logs.texts
        if (text.model, text.version) == (task.name, version) and set(task.data.text) <= text.columns.keys()
    ]
    others = collections.Counter((t.model, t.version) for t in logs.texts) - collections.Counter(
        (t.model, t.version) for t in texts
    )
    told = list(logs.damage)
    told += [
        f"{count:,} texts of {model} version {number} are left out"
        for (model, number), count in others.items()
    ]
    if logs.num_other:
        told.append(f"{logs.num_other:,} records of other calls than Predict are left out")
    if not texts:
        raise UserError(
            f"the request log has no text that version {version} of {task.name} answered"
            + (f"; {'; '.join(told)}" if told else "")
        )
    return texts, told


def _changes(
    joined: Join,
    served: ServedModel,
    *,
    task: TaskConfig,
    paths: RunPaths,
    store: MetadataStore,
    connection: metadata_store_pb2.ConnectionConfig,
) -> list[Change]:
    """Empty without labels."""
    if not joined.labelled:
        return []
    live = live_evaluation.evaluate(
        joined.labelled,
        model_id=served.model_id,
        task=task,
        paths=paths,
        store=store,
        connection=connection,
    )
    before = read_slices(served.evaluation_uri, labels=task.data.labels)
    return changes(live, before, metric=task.monitoring.metric, labels=task.data.labels)


def _drifts(joined: Join, served: ServedModel, *, task: TaskConfig, alpha: float) -> list[drift.Drift]:
    """Drift of texts, answers (labels if all are known) and slices from the training data."""
    encoder = resolve.resolve_encoder(
        task.encoder,
        cache_dir=resolve.default_cache_dir(),
        base_dir=config.PROJECT_ROOT,
        progress=lambda _: None,
    )
    features = TextFeatures(
        vocab_path=encoder.vocab_path, lower_case=encoder.lower_case, max_seq_length=task.text.max_seq_length
    )
    texts = [[row.text.columns[name] for row in joined.rows] for name in task.data.text]
    columns: dict[str, text_features.Column] = dict(features.columns(texts))
    all_known = len(joined.labelled) == len(joined.rows)
    columns[task.data.label] = [(row.label if all_known else row.text.label).encode() for row in joined.rows]
    for name in {name for slices in task.evaluation.slices for name in slices.split("+")}:
        cells = [row.cell(name) for row in joined.rows]
        if any(cells):
            columns[name] = cells
    return drift.compare(
        text_features.statistics_of(columns),
        drift.read_statistics(served.statistics_dir),
        drift.thresholds(task, kind="skew"),
        alpha=alpha,
    )


def _agreements(
    request: Request, texts: Sequence[LoggedText], *, task: TaskConfig, paths: RunPaths
) -> list[weak_labels.Agreement]:
    found = []
    if task.monitoring.weak_labels:
        found.append(weak_labels.with_rules(texts, task.monitoring.weak_labels, columns=task.data.text))
    if request.compare:
        folder = paths.push_destination / str(request.compare)
        found.append(weak_labels.with_model(texts, folder, columns=task.data.text, say=print))
    return found


def _write(made: report.Report, *, paths: RunPaths, prometheus: str) -> None:
    folder = paths.root / "monitoring"
    text = report.as_json(made)
    write_whole(folder / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}.json", text)
    write_whole(folder / "latest.json", text)
    if prometheus:
        argument_types.check_prometheus_file(Path(prometheus))  # it may have appeared since the first check
        write_whole(Path(prometheus).resolve(), report.as_prometheus(made))
