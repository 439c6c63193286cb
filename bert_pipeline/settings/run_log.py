"""Keeps the terminal, and the folder for temporary files, clean of what libraries leave there."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def run_log(path: Path, *, verbose: bool) -> Iterator[None]:
    """Redirects the file descriptors 1 and 2, logging and warnings into a file.

    `sys.stdout` and `sys.stderr` go on to the terminal, for this program's own lines; C++ code and child
    processes write to the descriptors. Begin it before TensorFlow is imported. What is written into the folder for
    temporary files meanwhile is removed: TFX, Beam and AutoGraph leave theirs behind.

    Args:
        path: the log file.
        verbose: nothing is redirected, and logging goes to the terminal as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    if verbose:
        handlers.append(logging.StreamHandler(sys.stderr))
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers, force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    with contextlib.ExitStack() as stack:
        stack.enter_context(temporary_folder())
        if not verbose:
            stack.enter_context(_beside_the_terminal(path))
        yield


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Gives this process, and those that it starts, a folder for temporary files that is removed at the end."""
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="bert_pipeline-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before[0]
            if before[1] is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before[1]


@contextlib.contextmanager
def _beside_the_terminal(path: Path) -> Iterator[None]:
    """`descriptors_to`, with `sys.stdout` and `sys.stderr` on copies of the terminal's descriptors."""
    streams = sys.stdout, sys.stderr
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="replace")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    try:
        with descriptors_to(path):
            yield
    finally:
        sys.stdout.close()
        sys.stderr.close()
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def descriptors_to(path: Path) -> Iterator[None]:
    """Sends the file descriptors 1 and 2 to the end of a file."""
    saved = {number: os.dup(number) for number in (1, 2)}
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        for number in saved:
            os.dup2(log, number)
        yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(log)


def quiet_library_loggers() -> None:
    """Takes away the handlers that libraries gave their own loggers; call it after importing them."""
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    absl_handlers = [h for h in logging.root.handlers if type(h).__module__.startswith("absl")]
    for handler in absl_handlers:
        logging.root.removeHandler(handler)
