"""The verb `airflow`: runs a task's graph under an Airflow of its own."""

from __future__ import annotations

import argparse
from typing import Any

from bert_pipeline.settings import argument_types
from bert_pipeline.verbs import common, dag, pipeline


def add(verbs: Any) -> None:
    """Adds the verb."""
    text = "run a task's graph under an Airflow on this machine, until Ctrl-C"
    parser = common.add_verb(verbs, "airflow", text, run=_run, writes=True)
    pipeline.add_request(parser)
    dag.add_schedule(parser)
    parser.add_argument("--port", type=argument_types.port, default=8080, help="of its pages; 0: any")


def _run(arguments: argparse.Namespace) -> int:
    with common.logged(arguments, "airflow"):  # what TFX says while it is imported
        from bert_pipeline.places.airflow import local

    return local.serve(pipeline.request_of(arguments), dag.schedule_of(arguments), port=arguments.port)
