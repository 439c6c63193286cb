"""Measures whole tasks: our pipeline, TF-IDF with logistic regression, and a fine-tuning peer; one Markdown table.

    python tests/benchmarks/measure_tasks.py --data-root DATA --out OUT --table results.md sst2 ag_news
        [--peer-dir PEERS --peer-python PEERS/bin/python --peer-home DIR --peer-model CHECKPOINT]

Each task's pipeline runs as a process of its own, with its own output folder under OUT, so that nothing is cached
from an earlier run. Figures of earlier calls are kept (OUT/results.json), so tasks can be measured one at a time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import dataclasses
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import bert_task

from bert_pipeline import config

PROJECT_ROOT = Path(__file__).resolve().parents[2]
csv.field_size_limit(1 << 28)


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a process and its children cost."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_gb: float
    """Largest resident set of any one process (1 GB = 10^9 bytes)."""

    status: int


def run_measured(command: Sequence[str], *, env: dict[str, str], log_path: Path) -> Usage:
    """Runs a command to its end and accounts for it, as /usr/bin/time does.

    Args:
        command: the program and its arguments.
        env: its whole environment.
        log_path: where its output goes.
    """
    started = time.monotonic()
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=PROJECT_ROOT, stdout=log, stderr=subprocess.STDOUT)
        # wait4 gives the usage of this child alone; getrusage(RUSAGE_CHILDREN) would keep the highest peak so far.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(
        wall_seconds=round(time.monotonic() - started, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_memory_gb=round(usage.ru_maxrss * unit / 1e9, 2),
        status=process.returncode,
    )


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


def read_rows(path: Path, *, data: bert_task.DataConfig) -> tuple[list[str], list[str]]:
    """Texts (a pair is joined by a space) and labels of a CSV."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [" ".join(row[column] for column in data.text) for row in rows], [row[data.label] for row in rows]


def measure_tfidf(*, data: bert_task.DataConfig, data_dir: Path) -> dict[str, Any]:
    """TF-IDF of words and word pairs, sublinear, with logistic regression (C = 10), on the same files."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    train_texts, train_labels = read_rows(data_dir / data.files["train"], data=data)
    eval_texts, eval_labels = read_rows(data_dir / data.files["eval"], data=data)
    started = time.monotonic()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1)
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=300)).fit(train_texts, train_labels)
    answers = model.predict(eval_texts)
    return {
        "accuracy": float(accuracy_score(eval_labels, answers)),
        "macro_f1": float(f1_score(eval_labels, answers, average="macro")),
        "wall_seconds": round(time.monotonic() - started, 1),
        "num_train": len(train_labels),
        "num_eval": len(eval_labels),
    }


def _in_new_process(function: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    """Calls a function in a process of its own: a child's peak memory is never below its parent's, so that what
    grew this process would be counted to the next task's pipeline."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, **arguments).result()


@dataclasses.dataclass(frozen=True)
class Peer:
    """Where the fine-tuning peer is, and what it runs on."""

    folder: Path
    python: str
    home: Path
    model: Path
    data_root: Path


def measure_peer(task: bert_task.TaskConfig, *, peer: Peer, out: Path) -> dict[str, Any]:
    """Fine-tunes the same checkpoint with `peer_finetune.py`: same examples, epochs, batch, rate and length.

    Raises:
        SystemExit: it failed.
    """
    training = task.training
    results = out / f"peer-{task.name}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    env = dict(os.environ) | {
        "PEER_HOME": str(peer.home),
        "PEER_MODEL": str(peer.model),
        "PEER_DATA": str(peer.data_root),
        "PEER_LOG": str(results),
    }
    # The peer's interpreter has libraries of its own.
    env.pop("PYTHONPATH", None)
    command = [peer.python, str(peer.folder / "peer_finetune.py"), "--set", task.name, "--n", "0"]
    command += ["--epochs", str(training.epochs), "--batch", str(training.batch_size)]
    command += ["--lr", str(training.learning_rate), "--max-len", str(task.text.max_seq_length)]
    command += ["--seed", str(training.seed), "--threads", str(os.cpu_count() or 1)]
    usage = run_measured(command, env=env, log_path=results.with_suffix(".log"))
    if usage.status:
        raise SystemExit(
            f"{task.name}: the peer ended with status {usage.status}; see {results.with_suffix('.log')}"
        )
    last = json.loads(results.read_text(encoding="utf-8").splitlines()[-1])
    values = {"accuracy": last["eval_accuracy"], "macro_f1": last["eval_macro_f1"]}
    return {**values, **dataclasses.asdict(usage)}


def machine() -> str:
    """Processor, cores, memory: what a figure means nothing without."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB"


def as_table(results: dict[str, dict[str, Any]]) -> str:
    """The Markdown table of everything measured so far.

    Args:
        results: by task: date, machine, pipeline, and where they were measured tfidf and peer.
    """
    lines = [
        "| task | train / eval | accuracy | macro-F1 | wall time | peak memory | TF-IDF + LR | peer | measured |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for task, result in sorted(results.items()):
        ours, tfidf, peer = (result.get(kind) for kind in ("pipeline", "tfidf", "peer"))
        cells = [
            task,
            f"{tfidf['num_train']:,} / {tfidf['num_eval']:,}" if tfidf else "",
            f"{ours['accuracy']:.1%}" if ours else "",
            f"{ours['macro_f1']:.1%}" if ours else "",
            _minutes(ours["wall_seconds"]) if ours else "",
            f"{ours['peak_memory_gb']:.1f} GB" if ours else "",
            f"{tfidf['accuracy']:.1%} / {tfidf['macro_f1']:.1%}" if tfidf else "",
            f"{peer['accuracy']:.1%} / {peer['macro_f1']:.1%}, {_minutes(peer['wall_seconds'])}"
            if peer
            else "",
            result["date"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    machines = sorted({result["machine"] for result in results.values()})
    note = "TF-IDF and peer: accuracy / macro-F1, on the same examples."
    lines += ["", f"{note} Measured on: {'; '.join(machines)}."]
    return "\n".join(lines) + "\n"


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


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
