"""Puts load on the model server, on what people use instead of it, and on the bare model, in turns.

    python -m tests.benchmarks.bench_serving out/shoes/serving/shoes
    python -m tests.benchmarks.bench_serving out/sst2/serving/sst2 --texts DATA/sst2/eval.csv --bare --rates 50 100
        --ours "batched=--enable_batching" --ours "unbatched=" --rounds 3 --seconds 10 --results load.jsonl
        --peer-dir PEERS --peer-python PEERS_ENV/bin/python --peer-home PEER_HOME
    python -m tests.benchmarks.bench_serving --address localhost:8500,localhost:8501 --model sst2

The third measures a server that runs already: the real TF Serving in docker, say. One process makes all the load
(see `load/generator.py`); on a machine of few processors what it uses the server lacks, so its cost is a column.
Every server is up all the time and idle when it is not its turn. Ratios of one run mean something; figures of two
runs on a shared machine do not.

PEERS holds serve_app.py, a FastAPI application over PEER_HOME/sst2 (a fine-tuned checkpoint of Hugging Face) and
PEER_HOME/onnx (its exports), which is told the back end by PEER_BACKEND.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tests.benchmarks.load import bodies, table, targets, usage
from tests.benchmarks.load.plan import Result
from tests.benchmarks.load.processes import ROOT, LoadGenerator
from tests.benchmarks.load.targets import BareTarget, Load, Target

SAMPLE = ROOT / "data" / "shoes" / "span-2" / "reviews.csv"


def parse_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base_path", type=Path, nargs="?", help="folder of version folders, as pushed")
    parser.add_argument(
        "--ours",
        action="append",
        metavar="NAME=FLAGS",
        help="the embedded server with these flags; may be repeated; without it once, as `make serve` starts it",
    )
    parser.add_argument("--address", default="", help="HOST:GRPC_PORT,HOST:REST_PORT of a server that runs")
    parser.add_argument("--model", default="", help="name of the model at --address")
    parser.add_argument("--bare", action="store_true", help="also the model's session, called by threads")
    parser.add_argument("--bare-rows", type=int, nargs="+", default=[1, 32], help="texts a call, for --bare")
    parser.add_argument("--peer-dir", type=Path)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-home", type=Path)
    parser.add_argument("--peer-backends", nargs="*", default=["ort_fp32", "ort_int8", "pipeline"])
    parser.add_argument("--texts", type=Path, nargs="+", default=[SAMPLE], help="CSV files")
    parser.add_argument("--column", default="text")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32, 128], help="closed loops")
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="open loops: arrivals a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one target under one load, each round")
    parser.add_argument("--results", type=Path, help="takes a line of JSON for each row of the table")
    flags = parser.parse_args(arguments)
    if not flags.base_path and not (flags.address and flags.model):
        parser.error("give the folder of a pushed model, or --address and --model of a server that runs")
    return flags


@contextlib.contextmanager
def started(flags: argparse.Namespace, place: targets.Workplace) -> Iterator[list[Target | BareTarget]]:
    """Everything that is to be measured, ready."""
    with contextlib.ExitStack() as stack:
        found: list[Target | BareTarget] = []
        for entry in flags.ours or ["ours=--enable_batching"] if flags.base_path else []:
            name, _, options = entry.partition("=")
            server = targets.ours(
                place, name=name, base_path=flags.base_path.absolute(), flags=shlex.split(options)
            )
            found += stack.enter_context(server)
        if flags.address:
            found += targets.at_address(place, name=flags.address, addresses=flags.address, model=flags.model)
        if flags.peer_dir:
            peers = targets.Peers(flags.peer_dir, flags.peer_python, flags.peer_home)
            for backend in flags.peer_backends:
                found += stack.enter_context(targets.fastapi(place, backend=backend, peers=peers))
        if flags.bare:
            base_path = flags.base_path.absolute()
            found += stack.enter_context(targets.bare(place, base_path=base_path, rows=flags.bare_rows))
        yield found


def measure(
    found: Sequence[Target | BareTarget], loads: Sequence[Load], *, rounds: int, progress: TextIO
) -> list[table.Cell]:
    """Every target under every load in turns, beginning with another target in each round."""
    results: dict[tuple[int, int], list[Result]] = {}
    for number in range(rounds):
        for at, load in enumerate(loads):
            for which in sorted(range(len(found)), key=lambda which: (which + number) % len(found)):
                result = found[which].measure(dataclasses.replace(load, seed=number))
                if result is None:
                    continue
                results.setdefault((which, at), []).append(result)
                speed = result.ok / result.seconds
                print(
                    f"round {number + 1} {found[which].name}, {load.clients} clients, rate {load.rate:g}: "
                    f"{speed:.1f} requests/s {result.errors or ''}",
                    file=progress,
                )
    cells = []
    for (which, at), measured in sorted(results.items()):
        pid = found[which].pid
        now, peak = usage.memory_mb(pid) if pid else (0.0, 0.0)
        cells.append(table.Cell(found[which].name, loads[at], measured, now, peak))
    return cells


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    flags = parse_flags(arguments)
    loads = [Load(clients, flags.seconds) for clients in flags.clients]
    loads += [Load(512, flags.seconds, rate=rate) for rate in flags.rates]
    texts = bodies.read_texts(flags.texts, column=flags.column)
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.2f}; {bodies.describe(texts)}")
    with tempfile.TemporaryDirectory() as folder, LoadGenerator() as generator:
        place = targets.Workplace(generator, texts, Path(folder))
        with started(flags, place) as found:
            cells = measure(found, loads, rounds=flags.rounds, progress=sys.stderr)
    print(table.markdown(cells))
    if flags.peer_dir and flags.peer_backends:
        print("\n" + table.comparison(cells, base=f"FastAPI {flags.peer_backends[0]}"))
    if flags.results:
        with flags.results.open("a") as file:
            file.writelines(json.dumps(cell.figures()) + "\n" for cell in cells)


if __name__ == "__main__":
    main()
