"""A task's graph as JSON for an orchestrator: its steps in order, what each waits for, and its command line.

    {"task": "toy", "steps": [{"id": "Begin", "after": [], "command": ["python", ..., "--run", "{run}"]}, ...]}

Made of the compiled graph. In a command line `{run}` stands for the orchestrator's name of the run and `{span}` for its
date; an argument with `{span}` is left out of a run that has none.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler

from bert_pipeline import pipeline
from bert_pipeline.data import spans
from bert_pipeline.running import run as run_pipeline
from bert_pipeline.running.node import BEGIN, FINISH
from bert_pipeline.settings import typed
from bert_pipeline.settings.config import PROJECT_ROOT, LoadedTask
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.whole_file import whole
from bert_pipeline.settings_map import reruns

RUN, SPAN = "{run}", "{span}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(run_pipeline.Request):
    """Arguments of `dag`."""

    schedule: str = ""
    """When an orchestrator runs the task: cron's five fields, or such as `@daily`; empty for on request."""

    start: datetime.date | None = None
    """The first date; runs of past dates are made up. None: from now on."""

    retries: int = 1
    """How often a failed step is tried again."""

    to: str = "-"
    """The file; `-` for standard output."""


def run(request: Request) -> int:
    """The verb `dag`: writes the file of a task; returns 0.

    Raises:
        UserError: see `as_json`.
    """
    text = as_json(request)
    if request.to == "-":
        print(text, end="")
    else:
        write(Path(request.to), text)
    return 0


def as_json(request: Request, *, environment: Mapping[str, str] | None = None) -> str:
    """The file of a task.

    Args:
        request: arguments of each run, and when runs begin; with `span`, each run reads that one, not its date's.
        environment: variables of every step, besides those that find the project.

    Raises:
        UserError: the task cannot be read, or the schedule has a first date and no times.
    """
    if request.start and not request.schedule:
        raise UserError(
            f"{typed.name('start')} is {request.start}, but there is no {typed.name('schedule')}; give one, such as "
            "@daily"
        )
    loaded = request.load()
    by_date = request.span is None and any("{YYYY}" in name for name in loaded.task.data.files.values())
    content = {
        "task": loaded.task.name,
        "description": loaded.task.description,
        "schedule": request.schedule or None,
        "start": str(request.start or datetime.date.today()),
        "catchup": request.start is not None,
        "retries": request.retries,
        "spans_by_date": by_date,
        "folder": str(PROJECT_ROOT),
        "environment": {"PYTHONPATH": f"{PROJECT_ROOT / 'modules'}:{PROJECT_ROOT}", **(environment or {})},
        "steps": _steps(loaded, request, by_date=by_date),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    """Writes the file for its owner alone: the address of ML Metadata may hold a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8")


def _steps(loaded: LoadedTask, request: run_pipeline.Request, *, by_date: bool) -> list[dict[str, Any]]:
    """Begin, every component that some run of the task has, Finish."""
    upstream = _upstream(loaded)
    waited_for = {name for names in upstream.values() for name in names}
    after = {BEGIN: [], **{name: names or [BEGIN] for name, names in upstream.items()}}
    after[FINISH] = [name for name in upstream if name not in waited_for]
    task = str(loaded.path) if request.task.endswith(".toml") else request.task
    place = ["--task", task, "--out", str(request.out.resolve())]
    place += ["--metadata", request.metadata] if request.metadata else []
    python = [sys.executable, "-m", "bert_pipeline", "node"]
    more = {BEGIN: _asked(loaded, request, by_date=by_date)}
    return [
        {"id": name, "after": names, "command": [*python, name, "--run", RUN, *place, *more.get(name, ())]}
        for name, names in after.items()
    ]


def _asked(loaded: LoadedTask, request: run_pipeline.Request, *, by_date: bool) -> list[str]:
    """What Begin alone reads of a command line."""
    words = ["--data", str(loaded.data_dir)] if request.data else []
    if by_date:
        words.append(f"--span={SPAN}")
    elif request.span is not None:
        words += ["--span", str(request.span)]
    words += ["--window", str(request.window)] if request.window else []
    words += ["--server", request.server] if request.server != "process" else []
    return [*words, *(f"--set={setting}" for setting in request.overrides)]


def _upstream(loaded: LoadedTask) -> dict[str, list[str]]:
    """What each component waits for, in the graph's order; the data need not be there, nor the encoder.

    A task with spans has the step OlderSpans, which the runs before its second span do without.
    """
    task = loaded.task
    if any(map(spans.has_span, task.data.files.values())):
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, window=2))
    connection = metadata_store_pb2.ConnectionConfig()
    connection.fake_database.SetInParent()  # in memory
    components = reruns.components_of(task)
    graph = pipeline.create_pipeline(
        task.name, components=components, pipeline_root=Path("/out"), metadata=connection
    )
    nodes = [node.pipeline_node for node in compiler.Compiler().compile(graph).nodes]
    upstream = {node.node_info.id: node.upstream_nodes for node in nodes}
    order = [component.id for component in components]
    return {name: sorted(upstream[name], key=order.index) for name in order}
