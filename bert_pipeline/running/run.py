"""One run of a task on this machine: its steps in one process, or one of them for an orchestrator."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bert_pipeline.running import notices, unchanged
from bert_pipeline.settings import config
from bert_pipeline.settings.errors import UserError, sentence_of
from bert_pipeline.settings.paths import RunPaths, exclusive, in_use, run_paths
from bert_pipeline.settings.run_log import quiet_library_loggers, run_log
from bert_pipeline.settings.whole_file import write_whole

if TYPE_CHECKING:
    from bert_pipeline.encoders.resolve import Encoder
    from bert_pipeline.running.steps import Begun, Place


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    task: str
    data: str
    span: int | None
    window: int | None
    overrides: tuple[str, ...]
    out: Path
    metadata: str
    server: str
    verbose: bool


def run(request: Request) -> int:
    """Runs a task's pipeline.

    Returns:
        0 when the model was pushed or is in service already, 1 when it was refused.

    Raises:
        UserError: anything that stopped the run and that a user can put right.
    """
    started = time.monotonic()
    loaded, paths = _load(request)
    with exclusive(paths), notices.on_failure(loaded.task), _logged(request, paths, "pipeline"):
        _say(f"task {loaded.task.name}: {loaded.task.description}")
        encoder = resolve_encoder(
            loaded
        )  # before the libraries: a cache that cannot be written is said at once
        inputs = unchanged.inputs_of(request, loaded, encoder, paths)
        if kept := unchanged.recall(paths, unchanged.digest_of(inputs, paths)):
            return _say_unchanged(loaded, paths, kept, started=started)
        with _timed("loading TensorFlow and TFX"):
            from bert_pipeline import pipeline  # noqa: F401
            from bert_pipeline.metadata import run_record
            from bert_pipeline.running import steps

            quiet_library_loggers()
        place = steps.Place.of(paths, metadata=request.metadata)
        begun = steps.begin(place, loaded, steps.Options(encoder, request.server))
        with run_record.stops_recorded(place.store, begun.run_id, on_stop=place.reports(loaded).tell):
            results = steps.runner().run_nodes(begun.graph)
            digest = functools.partial(unchanged.digest_of, inputs, paths)
            seconds = time.monotonic() - started
            report = steps.finish(place, loaded, begun, results, seconds=seconds, digest=digest)
    return 0 if report.in_service else 1


def _say_unchanged(
    loaded: config.LoadedTask, paths: RunPaths, kept: unchanged.Unchanged, *, started: float
) -> int:
    """Ends a run that would change nothing as it would end."""
    write_whole(paths.root / "summary.json", kept.summary)
    print(kept.text.replace("{seconds}", f"{time.monotonic() - started:.1f}"), flush=True)
    event = notices.event("unchanged", task=loaded.task.name, version=kept.version)
    notices.send(event, config=loaded.task.notices, say=_say)
    return 0


BEGIN, FINISH = "Begin", "Finish"


def run_step(request: Request, *, step: str, run_id: str) -> int:
    """Runs one step of a run, for an orchestrator; ML Metadata and the output folder lead from one to the next.

    Args:
        request: as of the whole run; all but the place is read by `Begin` alone.
        step: `Begin`, a component's id, or `Finish`.
        run_id: the orchestrator's name for the run.

    Returns:
        0 where the run may go on; 1 where a component failed that the push needs or, of `Finish`, where the model was
        refused.

    Raises:
        UserError: anything that stopped the step and that a user can put right.
    """
    if step == BEGIN:
        return _begin(request, run_id)
    paths = run_paths(config.task_name(request.task), out=request.out)
    with _logged(request, paths, step):
        from bert_pipeline.running import steps

        quiet_library_loggers()
        place = steps.Place.of(paths, metadata=request.metadata)
        begun = steps.load(place, run_id)
        if step == FINISH:
            return _finish(place, begun)
        with exclusive(paths) if step == "Pusher" else in_use(paths):
            result = steps.run_component(place, begun, step)
    reason = f": {result.error}" if result.state == "skipped" and result.error else ""
    _say(f"{steps.line_of(result)}{reason}")
    may_fail = (*steps.OPTIONAL, *(() if result.error else steps.NOT_IN_EVERY_RUN))
    return int(result.state in ("failed", "skipped") and step not in may_fail)


def _begin(request: Request, run_id: str) -> int:
    loaded, paths = _load(request)
    with exclusive(paths), notices.on_failure(loaded.task), _logged(request, paths, BEGIN):
        encoder = resolve_encoder(loaded)
        from bert_pipeline.running import steps

        quiet_library_loggers()
        place = steps.Place.of(paths, metadata=request.metadata)
        begun = steps.begin(place, loaded, steps.Options(encoder, request.server, run_id))
        steps.save(place, begun)
    _say(f"run {run_id} has {len(begun.graph.nodes)} components")
    return 0


def _finish(place: Place, begun: Begun) -> int:
    from bert_pipeline.metadata import run_record
    from bert_pipeline.running import recovered, steps

    loaded = recovered.loaded_of(place.store, begun.run_id)
    with (
        exclusive(place.paths),
        notices.on_failure(loaded.task),
        run_record.stops_recorded(place.store, begun.run_id, on_stop=place.reports(loaded).tell),
    ):
        results = steps.results_of(place, begun)
        steps.check(results)
        seconds = time.time() - steps.began(place, begun)
        return 0 if steps.finish(place, loaded, begun, results, seconds=seconds).in_service else 1


def _load(request: Request) -> tuple[config.LoadedTask, RunPaths]:
    loaded = config.load_task(
        request.task, data=request.data, span=request.span, window=request.window, overrides=request.overrides
    )
    paths = run_paths(loaded.task.name, out=request.out)
    paths.root.mkdir(parents=True, exist_ok=True)
    return loaded, paths


@contextlib.contextmanager
def _logged(request: Request, paths: RunPaths, name: str) -> Iterator[None]:
    """Sends what libraries print into a log, which an error that is not the user's names."""
    suffix = "" if name == "pipeline" else f"-{name}"
    log = paths.logs / f"{datetime.now():%Y%m%d-%H%M%S}{suffix}.log"
    with run_log(log, verbose=request.verbose):
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if request.verbose:
                raise
            said = sentence_of(error) or f"{type(error).__name__}: {error}"
            raise UserError(f"{said}\nthe whole log is in {log}") from error


def resolve_encoder(loaded: config.LoadedTask) -> Encoder:
    """The task's encoder in the cache, which may take a download or a conversion."""
    from bert_pipeline.encoders import resolve

    encoder = resolve.resolve_encoder(
        loaded.task.encoder,
        cache_dir=resolve.default_cache_dir(),
        base_dir=config.PROJECT_ROOT,
        progress=_say,
    )
    resolve.check_max_seq_length(loaded.task.text.max_seq_length, encoder=encoder)
    return encoder


def _say(line: str) -> None:
    clear = "\033[K" if sys.stdout.isatty() else ""
    print(f"{line}{clear}", flush=True)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    _say(f"  {what:<24}{time.monotonic() - started:>7.1f} s")
