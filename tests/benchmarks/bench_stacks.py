"""Times one encoder on two TensorFlows, in turns: this Python's and that of another command.

    python -m tests.benchmarks.bench_stacks --other "chroot /srv/trixie /project/.venv/bin/python"

Both load the same SavedModel, whose path must lead to it on both sides. They take turns call by call, each the first in
every second round, so that a busy machine harms them equally; medians are printed, in milliseconds a call, and the
processor time, which other work on the machine changes less. Rows are `--length` tokens long, without padding.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


def main() -> None:
    """Prints a row of the table for each precision and batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", required=True, help="command that starts the other stack's Python")
    parser.add_argument("--model", type=Path, help="encoder, a SavedModel; default: the known encoder's")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--length", type=int, default=32, help="tokens a row")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    flags = parser.parse_args()
    model = str(flags.model.resolve() if flags.model else _known_encoder())
    print(f"rows of {flags.length} tokens, {flags.rounds} rounds, milliseconds a call (median)")
    for precision in flags.precisions:
        workers = [
            _start(command, model, precision) for command in ([sys.executable], shlex.split(flags.other))
        ]
        versions = [_read(worker) for worker in workers]
        for batch in flags.batches:
            times: list[list[tuple[float, float]]] = [[], []]
            for turn in range(flags.rounds):
                for side in (0, 1) if turn % 2 else (1, 0):
                    times[side].append(_ask(workers[side], f"{batch} {flags.length}"))
            here, there = (
                [1e3 * statistics.median(column) for column in zip(*found, strict=True)] for found in times
            )
            print(
                f"{precision}, batch {batch}: TensorFlow {versions[0]} {here[0]:.1f}, {versions[1]} {there[0]:.1f}; "
                f"{there[0] / here[0]:.2f} times; processor time {here[1]:.1f}, {there[1]:.1f}; "
                f"{there[1] / here[1]:.2f} times",
                flush=True,
            )
        for worker in workers:
            worker.stdin.close()
            worker.wait(timeout=60)


def _known_encoder() -> str:
    from bert_task import EncoderConfig

    from bert_pipeline.encoders import resolve

    found = resolve.resolve_encoder(
        EncoderConfig(), cache_dir=resolve.default_cache_dir(), base_dir=Path.cwd(), progress=print
    )
    return str(found.path)


def _start(command: list[str], model: str, precision: str) -> Any:
    # The program itself travels as text: the other side need not see this folder.
    source = Path(__file__).read_text(encoding="utf-8")
    return subprocess.Popen(
        [*command, "-c", source, model, precision],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )


def _ask(worker: Any, line: str) -> tuple[float, float]:
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    seconds, processor = _read(worker).split()
    return float(seconds), float(processor)


def _read(worker: Any) -> str:
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"{worker.args[0]} ended with status {worker.wait()}; its own words stand above")
    return str(line.strip())


def work(model: str, precision: str) -> None:
    """One side: prints TensorFlow's version, then for each line `batch length` a call's seconds, wall and processor.

    The best of three: what the stack needs, not what else the machine does. A shape's first call is not timed.
    """
    import numpy as np
    import tensorflow as tf

    if precision == "bfloat16":
        tf.config.optimizer.set_experimental_options({BFLOAT16: True})
    encoder = tf.saved_model.load(model)
    names = ("input_word_ids", "input_mask", "input_type_ids")
    signature = [{name: tf.TensorSpec([None, None], tf.int32) for name in names}]
    run = tf.function(lambda x: encoder(x, training=False)["pooled_output"], input_signature=signature)
    print(tf.__version__, flush=True)
    known: dict[str, dict[str, tf.Tensor]] = {}
    for line in sys.stdin:
        if line not in known:
            shape = tuple(int(part) for part in line.split())
            ids = np.random.default_rng(0).integers(1000, 30000, shape, dtype=np.int32)
            values = zip(names, (ids, np.ones(shape, np.int32), np.zeros(shape, np.int32)), strict=True)
            known[line] = {name: tf.constant(value) for name, value in values}
            run(known[line]).numpy()
        seconds, processor = [], []
        for _ in range(3):
            started, used = time.perf_counter(), time.process_time()
            run(known[line]).numpy()
            seconds.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
        print(min(seconds), min(processor), flush=True)


if __name__ == "__main__":
    if sys.argv[0] == "-c":
        work(*sys.argv[1:])
    else:
        main()
