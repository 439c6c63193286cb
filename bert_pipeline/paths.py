"""Where the runs of a task write."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
from collections.abc import Iterator
from pathlib import Path

from bert_pipeline import typed
from bert_pipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunPaths:
    """Where one task's runs write; nothing is written anywhere else."""

    root: Path
    """out/<task>."""

    task_name: str

    @property
    def pipeline_root(self) -> Path:
        """Artifacts of every component."""
        return self.root / "artifacts"

    @property
    def metadata(self) -> Path:
        """ML Metadata's sqlite file."""
        return self.root / "metadata.sqlite"

    @property
    def push_destination(self) -> Path:
        """Base path of the served model: one folder per version."""
        return self.root / "serving" / self.task_name

    def anomalies(self, name: str) -> Path:
        """ExampleValidator's report for people on one span (`span-2`), or on data without spans (`data`)."""
        return self.root / "anomalies" / f"{name}.txt"

    def report_dir(self, run_name: str) -> Path:
        """The report of one run (TFX's run id): `index.html`, `model_card.md`."""
        return self.root / "reports" / run_name.replace(":", "-")

    @property
    def newest_report(self) -> Path:
        """A copy of the newest report's page."""
        return self.root / "report.html"

    @property
    def tensorboard(self) -> Path:
        """What the verb `tensorboard` collects; nobody misses it."""
        return self.root / "tensorboard"

    @property
    def logs(self) -> Path:
        """One log file per run."""
        return self.root / "logs"


def run_paths(task_name: str, *, out: str | Path) -> RunPaths:
    """Paths of a task's runs under the output folder `out`."""
    return RunPaths(root=Path(out).resolve() / task_name, task_name=task_name)


@contextlib.contextmanager
def exclusive(paths: RunPaths) -> Iterator[None]:
    """Two runs of one task at once would race for the version that is pushed; the kernel frees the lock."""
    with open(paths.root / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run or rollback of task {paths.task_name} is writing to {paths.root}; "
                f"wait for it, or give {typed.give('out')}"
            ) from None
        yield
