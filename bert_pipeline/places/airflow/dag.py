"""The DAG file: each `*.json` beside it becomes a DAG, a step of the task's graph one Airflow task.

`python -m bert_pipeline dag --task TASK --to FILE.json` writes such a file. Copy both into Airflow's folder of DAGs;
this one imports Airflow 3 and the standard library alone.
"""

from __future__ import annotations

import datetime
import json
import re
import shlex
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param

# A run that was asked for by hand has no date, unless it is typed.
SPAN = "{{ params.span or (ds if ds is defined and ds else '') }}"


class Step(BashOperator):
    """One process; a stop of the task ends it and what it started."""

    template_fields = ("env",)  # braces in a path are no template


def command_line(words: list[str]) -> str:
    r"""A step's command for bash, which reads the run and its span from variables.

    Example:
        >>> command_line(["python", "a b", "{run}", "--span={span}"])
        'exec python \'a b\' "$RUN" ${SPAN:+--span="$SPAN"}'
    """
    texts = []
    for word in words:
        parts = re.split(r"(\{run\}|\{span\})", word)
        known = {"{run}": '"$RUN"', "{span}": '"$SPAN"', "": ""}
        text = "".join(known[part] if part in known else shlex.quote(part) for part in parts) or "''"
        texts.append("${SPAN:+" + text + "}" if "{span}" in word else text)
    return f"exec {' '.join(texts)}"


def dag_of(graph: dict[str, Any]) -> DAG:
    """The DAG of one file."""
    by_date = graph["spans_by_date"]
    cron = graph["schedule"]
    with DAG(
        graph["task"],
        description=graph["description"],
        # A run of a date begins when that date is over: its span is whole.
        schedule=CronDataIntervalTimetable(cron, timezone="UTC") if cron else None,
        start_date=datetime.datetime.fromisoformat(graph["start"]).replace(tzinfo=datetime.timezone.utc),
        catchup=graph["catchup"],
        max_active_runs=1,  # two runs of a task would race for the version that is pushed
        params={"span": Param("", type="string", description="a date; empty: the run's own, or the newest")}
        if by_date
        else {},
        tags=["bert_pipeline"],
    ) as dag:
        steps: dict[str, Step] = {}
        for step in graph["steps"]:
            last = step["id"] == "Finish"
            steps[step["id"]] = Step(
                task_id=step["id"],
                bash_command=command_line(step["command"]),
                env={**graph["environment"], "RUN": "{{ run_id }}", "SPAN": SPAN if by_date else ""},
                append_env=True,
                cwd=graph["folder"],
                # It says how the run went, whatever went wrong, and does so once.
                trigger_rule="all_done" if last else "all_success",
                retries=0 if last else graph["retries"],
                retry_delay=datetime.timedelta(seconds=10),
                do_xcom_push=False,
            )
            for name in step["after"]:
                steps[name] >> steps[step["id"]]
    return dag


for _file in sorted(Path(__file__).parent.glob("*.json")):
    _dag = dag_of(json.loads(_file.read_text(encoding="utf-8")))
    globals()[_dag.dag_id] = _dag
