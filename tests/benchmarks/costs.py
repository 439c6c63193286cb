"""What a process costs: seconds, processor time, memory; and on which machine."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


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
