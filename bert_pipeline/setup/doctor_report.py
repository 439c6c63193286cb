"""What `make doctor` found, as lines for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

OK, WARN, BAD = "OK", "WARN", "BAD"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    level: str
    """`OK`; `WARN`: something is slower or missing; `BAD`: the project does not run."""

    subject: str
    state: str
    """What is the case."""

    fix: str = ""
    """How to mend it; empty where nothing needs mending."""


def print_report(findings: Iterable[Finding]) -> int:
    """Prints findings as they come; 1 where one is `BAD`, else 0.

    BAD   Python       3.11 at /usr/bin/python3, not 3.10
                       mend: make clean setup
    """
    bad = 0
    for finding in findings:
        print(f"{finding.level:<5} {finding.subject:<12} {finding.state}", flush=True)
        if finding.fix:
            print(f"{'':<18} mend: {finding.fix}", flush=True)
        bad += finding.level == BAD
    print(f"\n{bad} to be mended before anything runs" if bad else "\nnothing keeps the project from running")
    return 1 if bad else 0
