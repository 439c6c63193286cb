"""What our pipeline is measured against: TF-IDF with logistic regression, and a fine-tuning peer."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import bert_task

from bert_pipeline.settings import sections
from tests.benchmarks.costs import run_measured


def read_rows(path: Path, *, data: bert_task.DataConfig) -> tuple[list[str], list[str]]:
    """Texts (a pair is joined by a space) and labels of a CSV."""
    csv.field_size_limit(1 << 28)
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


@dataclasses.dataclass(frozen=True)
class Peer:
    """Where the fine-tuning peer is, and what it runs on."""

    folder: Path
    python: str
    home: Path
    model: Path
    data_root: Path


def measure_peer(task: sections.TaskConfig, *, peer: Peer, out: Path) -> dict[str, Any]:
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
