"""The verb `airflow`: runs a task's graph under an Airflow of its own."""

from __future__ import annotations

from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common, dag, pipeline


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "run a task's graph under an Airflow on this machine, until Ctrl-C"
    verb = common.Verb("places.airflow.local", logged=True, writes=True)
    parser = common.add_verb(verbs, "airflow", text, verb)
    pipeline.add_request(parser)
    dag.add_schedule(parser)
    parser.add_argument("--port", type=argument_types.port, default=8080, help="of its pages; 0: any")
