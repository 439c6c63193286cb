"""Airflow's environment, `.tools/airflow`: it cannot share one with ML Metadata, whose protobuf is another."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from pathlib import Path

from bert_pipeline.settings.errors import UserError
from bert_pipeline.setup import setup_uv

LOCK = Path(__file__).with_name("requirements.lock")


def made(root: Path) -> Path:
    """Makes the environment where it is not there, or is of another lock or Python.

    Args:
        root: folder of the project.

    Returns:
        The folder of its programs.

    Raises:
        UserError: a step failed; the message says what to do.
    """
    folder = root / ".tools/airflow"
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    record = folder / "made"
    folder.parent.mkdir(exist_ok=True)
    with open(root / ".tools/airflow.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if record.is_file() and record.read_text(encoding="utf-8") == digest:
            return folder / "bin"
        log = root / ".tools/airflow.log"
        log.write_text("", encoding="utf-8")
        environment = setup_uv.uv_environment(root)
        try:
            uv = [str(setup_uv.find_uv(root)), "--no-progress"]
            python = ["--python", str(folder / "bin/python")]
            for what, words in {
                "an environment for Airflow": ["venv", "--clear", "--python", sys.executable, str(folder)],
                "Airflow": ["pip", "sync", *python, "--require-hashes", "--compile-bytecode", str(LOCK)],
            }.items():
                setup_uv.run_step(
                    [*uv, *words], what=what, log=log, root=root, environment=environment, lock=lock
                )
        except setup_uv.SetupError as error:
            raise UserError(str(error)) from None
        record.write_text(digest, encoding="utf-8")
    return folder / "bin"
