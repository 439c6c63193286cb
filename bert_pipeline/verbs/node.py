"""The verb `node`: runs one step of a run, for an orchestrator."""

from __future__ import annotations

from typing import Any

from bert_pipeline.verbs import common, pipeline


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "run one step of a run, for an orchestrator: Begin, a component, Finish"
    parser = common.add_verb(verbs, "node", text, common.Verb("running.node", writes=True))
    parser.add_argument("step", help="Begin, a component such as Trainer, or Finish")
    parser.add_argument("--run", required=True, dest="run_id", help="the orchestrator's name for the run")
    pipeline.add_request(parser)
