"""The verb `node`: one step of a run, for an orchestrator."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from bert_pipeline.running import notices
from bert_pipeline.running import run as run_pipeline
from bert_pipeline.running.run import load, logged, resolve_encoder, say
from bert_pipeline.settings.paths import exclusive, in_use
from bert_pipeline.settings.run_log import quiet_library_loggers

if TYPE_CHECKING:
    from bert_pipeline.running.steps import Begun, Place

BEGIN, FINISH = "Begin", "Finish"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(run_pipeline.Request):
    """Arguments of `node`: only `Begin` reads those that do not locate the run."""

    step: str
    """`Begin`, a component's id, or `Finish`."""

    run_id: str
    """The orchestrator's name for the run."""


def run(request: Request) -> int:
    """Runs one step of a run for an orchestrator; steps share only ML Metadata and the output folder.

    Returns:
        0 if the run may continue; 1 if a component failed that the push needs or, for `Finish`, if the model was
        refused.

    Raises:
        UserError: a problem that the user can fix stopped the step.
    """
    step, paths = request.step, request.paths
    if step == BEGIN:
        return _begin(request)
    with logged(request, paths, step):
        from bert_pipeline.running import steps

        quiet_library_loggers()
        place = steps.Place.of(paths, metadata=request.metadata)
        begun = steps.load(place, request.run_id)
        if step == FINISH:
            return _finish(place, begun)
        with exclusive(paths) if step == "Pusher" else in_use(paths):
            result = steps.run_component(place, begun, step)
    reason = f": {result.error}" if result.state == "skipped" and result.error else ""
    say(f"{result.line}{reason}")
    may_fail = (*steps.OPTIONAL, *(() if result.error else steps.NOT_IN_EVERY_RUN))
    return int(result.state in ("failed", "skipped") and step not in may_fail)


def _begin(request: Request) -> int:
    loaded, paths = load(request)
    with exclusive(paths), notices.on_failure(loaded.task), logged(request, paths, BEGIN):
        encoder = resolve_encoder(loaded)
        from bert_pipeline.running import steps

        quiet_library_loggers()
        place = steps.Place.of(paths, metadata=request.metadata)
        begun = steps.begin(place, loaded, steps.Options(encoder, request.server, request.run_id))
        steps.save(place, begun)
    say(f"run {request.run_id} has {len(begun.graph.nodes)} components")
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
