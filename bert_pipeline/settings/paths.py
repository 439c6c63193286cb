"""Where the runs of a task write."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError


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
    def logs(self) -> Path:
        """One log file per run."""
        return self.root / "logs"


def run_paths(task_name: str, *, out: str | Path) -> RunPaths:
    """Paths of a task's runs under the output folder `out`."""
    return RunPaths(root=Path(out).resolve() / task_name, task_name=task_name)


def check_writable(paths: RunPaths) -> None:
    """Refuses an output folder that a verb could not write to, or only parts of it; writes nothing.

    Args:
        paths: of the task; nothing of it need be there yet.

    Raises:
        UserError: names the folder and what to give instead.
    """
    there = next(path for path in (paths.root, *paths.root.parents) if path.exists())
    own = [paths.metadata, paths.root / ".lock"] if there == paths.root else []
    folders = [there]
    for pattern in ("*", "artifacts/*", "artifacts/*/*", "serving/*") if there == paths.root else ():
        folders += [path for path in sorted(paths.root.glob(pattern)) if path.is_dir()]
    for path in (*folders, *(path for path in own if path.exists())):
        needed = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
        if not os.access(path, needed):
            is_read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
            why = "lies on a read-only file system" if is_read_only else "cannot be written by this user"
            raise UserError(
                f"{path} {why}; give {typed.give('out')} a folder that can be written, or change the rights of this one"
            )
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError(
            f"no folder for temporary files can be written; set TMPDIR: {error.strerror}"
        ) from error


@contextlib.contextmanager
def exclusive(paths: RunPaths) -> Iterator[None]:
    """Two runs of one task at once would race for the version that is pushed; the kernel frees the lock.

    Raises:
        UserError: another process has it.
    """
    with _locked(paths.root / ".lock", fcntl.LOCK_EX) as is_ours:
        if not is_ours:
            raise UserError(
                f"another run or rollback of task {paths.task_name} is writing to {paths.root}; "
                f"wait for it, or give {typed.give('out')}"
            )
        yield


@contextlib.contextmanager
def exclusive_if_free(paths: RunPaths) -> Iterator[bool]:
    """The same for what can be left to the next one: gives whether it has the lock; makes no folder."""
    if not os.access(paths.root, os.W_OK | os.X_OK):
        yield False
        return
    with _locked(paths.root / ".lock", fcntl.LOCK_EX) as is_ours:
        yield is_ours


@contextlib.contextmanager
def in_use(paths: RunPaths) -> Iterator[None]:
    """For what runs beside a training and writes artifacts of its own, such as `label`: keeps `gc` away.

    Raises:
        UserError: `gc` is at work.
    """
    with _locked(paths.root / ".in-use", fcntl.LOCK_SH) as is_ours:
        if not is_ours:
            raise UserError(f"gc of task {paths.task_name} is at work in {paths.root}; wait for it")
        yield


@contextlib.contextmanager
def not_in_use(paths: RunPaths) -> Iterator[bool]:
    """Gives whether nothing that holds `in_use` is at work; nothing begins meanwhile."""
    with _locked(paths.root / ".in-use", fcntl.LOCK_EX) as is_ours:
        yield is_ours


@contextlib.contextmanager
def one_monitor(paths: RunPaths) -> Iterator[None]:
    """Two monitors of one task would write the same files; keeps `gc` away as well.

    Raises:
        UserError: another one is at work, or `gc`.
    """
    with in_use(paths), _locked(paths.root / ".monitor", fcntl.LOCK_EX) as is_ours:
        if not is_ours:
            raise UserError(
                f"another monitor of task {paths.task_name} is at work in {paths.root}; wait for it"
            )
        yield


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[bool]:
    """Whether a lock could be had at once; the kernel frees it with its process."""
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
