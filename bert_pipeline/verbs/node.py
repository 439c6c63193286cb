"""The verb `node`: runs one step of a run, for an orchestrator."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.verbs import common, pipeline


def add(verbs: Any) -> None:
    """Adds the verb."""
    parser = common.add_verb(
        verbs,
        "node",
        "run one step of a run, for an orchestrator: Begin, a component, Finish",
        run=_run,
        writes=True,
    )
    parser.add_argument("step", help="Begin, a component such as Trainer, or Finish")
    parser.add_argument("--run", required=True, dest="run_id", help="the orchestrator's name for the run")
    pipeline.add_request(parser)


def _run(arguments: argparse.Namespace) -> int:
    from bert_pipeline.running import run

    return run.run_step(pipeline.request_of(arguments), step=arguments.step, run_id=arguments.run_id)
