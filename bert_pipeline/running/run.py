"""The verb `pipeline`: one run of a task on this machine, its steps in one process."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from bert_pipeline.running import notices, unchanged
from bert_pipeline.settings import config
from bert_pipeline.settings.errors import UserError, sentence_of
from bert_pipeline.settings.paths import RunPaths, exclusive
from bert_pipeline.settings.requests import GraphRequest
from bert_pipeline.settings.run_log import quiet_library_loggers, run_log

if TYPE_CHECKING:
    from bert_pipeline.encoders.resolve import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(GraphRequest):
    """Arguments of `pipeline`."""

    server: str = "process"
    """The server of InfraValidator: `process` or `docker`."""


def run(request: Request) -> int:
    """Runs a task's pipeline.

    Returns:
        0 if the model was pushed or is already in service, 1 if it was refused.

    Raises:
        UserError: a problem that the user can fix stopped the run.
    """
    started = time.monotonic()
    loaded, paths = load(request)
    with exclusive(paths), notices.on_failure(loaded.task), logged(request, paths, "pipeline"):
        say(f"task {loaded.task.name}: {loaded.task.description}")
        given = unchanged.surroundings()  # a conversion of the encoder imports TensorFlow
        # Before loading the libraries: report an unwritable cache at once.
        encoder = resolve_encoder(loaded)
        inputs = unchanged.inputs_of(request, loaded, encoder, paths, given=given)
        if kept := unchanged.recall(paths, unchanged.digest_of(inputs, paths)):
            unchanged.say(paths, kept, seconds=time.monotonic() - started)
            event = notices.event("unchanged", task=loaded.task.name, version=kept.version)
            notices.send(event, config=loaded.task.notices, say=say)
            return 0
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


def load(request: Request) -> tuple[config.LoadedTask, RunPaths]:
    """Loads the task, and creates its output folder."""
    loaded, paths = request.load(), request.paths
    paths.root.mkdir(parents=True, exist_ok=True)
    return loaded, paths


@contextlib.contextmanager
def logged(request: Request, paths: RunPaths, name: str) -> Iterator[None]:
    """Redirects output of libraries to a log, which internal errors name."""
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
    """The task's cached encoder; downloads or converts it if needed."""
    from bert_pipeline.encoders import resolve

    encoder = resolve.resolve_encoder(
        loaded.task.encoder,
        cache_dir=resolve.default_cache_dir(),
        base_dir=config.PROJECT_ROOT,
        progress=say,
    )
    resolve.check_max_seq_length(loaded.task.text.max_seq_length, encoder=encoder)
    return encoder


def say(line: str) -> None:
    """Prints a line over the one that shows the running component."""
    clear = "\033[K" if sys.stdout.isatty() else ""
    print(f"{line}{clear}", flush=True)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"  {what:<24}{time.monotonic() - started:>7.1f} s")
