"""Measures whole tasks: our pipeline, TF-IDF with logistic regression, and a fine-tuning peer; one Markdown table.

    python tests/benchmarks/measure_tasks.py --data-root DATA --out OUT --table results.md sst2 ag_news
        [--peer-dir PEERS --peer-python PEERS/bin/python --peer-home DIR --peer-model CHECKPOINT]

Each task's pipeline runs as a process of its own, with its own output folder under OUT, so that nothing is cached
from an earlier run. Figures of earlier calls are kept (OUT/results.json), so tasks can be measured one at a time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bert_pipeline.settings import config
from tests.benchmarks.costs import machine, run_measured
from tests.benchmarks.rivals import Peer, measure_peer, measure_tfidf
from tests.benchmarks.task_table import as_table


def measure_pipeline(task: str, *, data_dir: Path, out: Path) -> dict[str, Any]:
    """Runs `python -m bert_pipeline pipeline` and reads its summary.

    Raises:
        SystemExit: the run ended with an error; a refused model (status 1) is a result.
    """
    run_out = out / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"
    run_out.mkdir(parents=True)
    command = [sys.executable, "-m", "bert_pipeline", "pipeline", "--task", task]
    command += ["--data", str(data_dir), "--out", str(run_out)]
    log_path = run_out / "output.log"
    usage = run_measured(command, env=dict(os.environ), log_path=log_path)
    name = config.load_task(task, data=str(data_dir)).task.name
    summary_path = run_out / name / "summary.json"
    if usage.status not in (0, 1) or not summary_path.exists():
        raise SystemExit(f"{task}: the pipeline ended with status {usage.status}; see {log_path}")
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    values = {name: summary["metrics"][name] for name in ("accuracy", "macro_f1")}
    return {**values, **dataclasses.asdict(usage), "verdict": summary["verdict"]}


def _in_new_process(function: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    """Calls a function in a process of its own: a child's peak memory is never below its parent's, so that what
    grew this process would be counted to the next task's pipeline."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, **arguments).result()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures the tasks that were named, one after the other, and updates the table after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", help="names of task files, or paths")
    parser.add_argument("--data-root", type=Path, required=True, help="holds a folder with each task's name")
    parser.add_argument("--out", type=Path, required=True, help="runs, logs and results.json")
    parser.add_argument("--table", type=Path, help="Markdown file to write; default: print only")
    parser.add_argument("--skip-pipeline", action="store_true", help="measure the others only")
    parser.add_argument("--peer-dir", type=Path, help="folder of peer_finetune.py")
    parser.add_argument("--peer-python", default="", help="interpreter with the peer's libraries")
    parser.add_argument("--peer-home", type=Path, help="folder the peer writes in")
    parser.add_argument("--peer-model", type=Path, help="folder of the checkpoint that the peer fine-tunes")
    arguments = parser.parse_args(argv)
    peer_arguments = (arguments.peer_dir, arguments.peer_python, arguments.peer_home, arguments.peer_model)
    if any(peer_arguments) and not all(peer_arguments):
        parser.error("the peer needs --peer-dir, --peer-python, --peer-home and --peer-model")
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results_path = arguments.out / "results.json"
    results = json.loads(results_path.read_text(encoding="utf-8")) if results_path.exists() else {}
    for name in arguments.tasks:
        key = Path(name).stem
        results[key] = results.get(key, {}) | _measure(name, arguments)
        _write(results_path, json.dumps(results, indent=2) + "\n")
        if arguments.table:
            _write(arguments.table, as_table(results))
        print(as_table(results), flush=True)
    return 0


def _measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    data_dir = (arguments.data_root / Path(name).stem).resolve()
    task = config.load_task(name, data=str(data_dir)).task
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": machine()}
    if not arguments.skip_pipeline:
        result["pipeline"] = measure_pipeline(name, data_dir=data_dir, out=arguments.out)
    if {"train", "eval"} <= set(
        task.data.files
    ):  # another split than the pipeline's own would compare nothing
        result["tfidf"] = _in_new_process(measure_tfidf, data=task.data, data_dir=data_dir)
    if arguments.peer_dir:
        peer = Peer(
            folder=arguments.peer_dir.resolve(),
            python=arguments.peer_python,
            home=arguments.peer_home.resolve(),
            model=arguments.peer_model.resolve(),
            data_root=arguments.data_root.resolve(),
        )
        result["peer"] = measure_peer(task, peer=peer, out=arguments.out)
    return result


if __name__ == "__main__":
    sys.exit(main())
