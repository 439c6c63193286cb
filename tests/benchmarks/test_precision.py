"""The comparison of two precisions counts what is right and what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import bench_precision
from tests.serving import toys


def test_accuracy_times_and_differences_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys.add(tmp_path / "toy", 3)
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\nabc,short\nabcdefgh,long\nabcdefghi,short\n")
    bench_precision.main([str(tmp_path / "toy"), "--texts", str(texts), "--rounds", "1", "--sizes", "1"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "float32: accuracy 0.6667 on 3 texts",
        "bfloat16: accuracy 0.6667 on 3 texts",
    ]
    assert all(line.endswith(" ms a text in calls of 1") for line in lines)
    assert last == "probabilities differ by 0.0000 at most, 0.0000 on average; 0 of 3 labels differ"
