"""Where the figures of the reliability tests go, and the real model that the long ones ask.

    SOAK_MODEL=out/sst2/serving/sst2 SOAK_RESULTS=soak.jsonl make soak

Each test has a core that takes its counts as arguments: the default run calls it with small ones, in seconds, and
asserts nothing that depends on the speed of the machine; `make soak` with those of the table in serving/README.md.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.processes import ROOT

_TEXTS = ROOT / "data" / "shoes" / "span-1" / "reviews.csv"


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Prints figures as a row for the table and appends them to the file that SOAK_RESULTS names."""

    def tell(**figures: Any) -> None:
        name = request.node.name
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        print(f"\n| {name} | {told} |")
        if path := os.environ.get("SOAK_RESULTS"):
            with open(path, "a") as file:
                moment = time.strftime("%Y-%m-%d %H:%M:%S")
                file.write(json.dumps({"test": name, "at": moment, **figures}) + "\n")

    return tell


@pytest.fixture(scope="session")
def real_model() -> Path:
    """Folder of the newest version of a pushed model whose only input is `text`."""
    base_path = os.environ.get("SOAK_MODEL", "")
    if not base_path:
        pytest.skip("needs a pushed model of one text: SOAK_MODEL=out/sst2/serving/sst2 make soak")
    versions = [path for path in Path(base_path).iterdir() if path.name.isdigit()]
    return max(versions, key=lambda path: int(path.name)).absolute()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """1,000 reviews of 1 to 185 words."""
    with _TEXTS.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:1000]


@pytest.fixture
def batching_flags(tmp_path: Path) -> Callable[..., list[str]]:
    """Flags that switch batching on with the parameters given, by their names in the file."""

    def make(**parameters: int) -> list[str]:
        path = tmp_path / "batching.txt"
        path.write_text("".join(f"{key} {{ value: {value} }}\n" for key, value in parameters.items()))
        return ["--enable_batching", f"--batching_parameters_file={path}"]

    return make
