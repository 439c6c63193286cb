"""Records a run in ML Metadata: settings, code, encoder and schema at its start, the outcome at its end."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.metadata.run_history import RUN_TYPE
from bert_pipeline.settings.config import PROJECT_ROOT, LoadedTask

# Custom properties of the run's context, all of them strings.
SETTINGS = "settings"  # the task as JSON, overrides included
TASK_FILE = "task_file"
DATA_DIR = "data_dir"
CODE_SHA256 = "code_sha256"  # of every *.py of bert_pipeline/ and modules/
MODULES_SHA256 = "modules_sha256"  # of modules/ alone: what Transform and Trainer ran
COMMIT = "commit"
ENCODER = "encoder"
ENCODER_SHA256 = "encoder_sha256"
SCHEMA_SHA256 = "schema_sha256"
OUTCOME = "outcome"  # `pushed`, `refused`, ..., `stopped`; absent: killed
ERROR = "error"
SUMMARY = "summary"  # summary.json of the run
DATA = "data"  # its spans, and notes of reading them, as JSON


def facts(
    loaded: LoadedTask, *, encoder_source: str, encoder_sha256: str, schema_pbtxt: str
) -> dict[str, str]:
    """The properties that identify a run, by the names above."""
    return {
        SETTINGS: json.dumps(dataclasses.asdict(loaded.task), sort_keys=True, ensure_ascii=False),
        TASK_FILE: str(loaded.path),
        DATA_DIR: str(loaded.data_dir),
        CODE_SHA256: code_sha256("bert_pipeline", "modules"),
        MODULES_SHA256: code_sha256("modules"),
        COMMIT: _commit(),
        ENCODER: encoder_source,
        ENCODER_SHA256: encoder_sha256,
        SCHEMA_SHA256: hashlib.sha256(schema_pbtxt.encode()).hexdigest(),
    }


@contextlib.contextmanager
def stops_recorded(
    store: MetadataStore, run_id: str, *, on_stop: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Records an error that stops a run.

    Args:
        store: ML Metadata.
        run_id: of `begin`.
        on_stop: called with the run's id after an error is recorded; must not raise.
    """
    try:
        yield
    except BaseException as error:
        put(store, run_id, {OUTCOME: "stopped", ERROR: str(error) or type(error).__name__})
        if on_stop and isinstance(error, Exception):  # Ctrl-C does not wait for a report
            on_stop(run_id)
        raise


def end(store: MetadataStore, run_id: str, summary: str) -> None:
    """Records how a run ended.

    Args:
        store: ML Metadata.
        run_id: of `begin`.
        summary: text of summary.json; empty if there is none.
    """
    put(store, run_id, {OUTCOME: json.loads(summary)["verdict"] if summary else "", SUMMARY: summary})


def begin(store: MetadataStore, known: Mapping[str, str], *, run_id: str = "") -> str:
    """Registers the run's context before TFX would.

    Args:
        store: ML Metadata.
        known: of `facts`.
        run_id: the orchestrator's; a run with a recorded id restarts under it. Empty: the time.

    Returns:
        The run id; if none was given, one that was never used before.
    """
    type_id = store.put_context_type(pb.ContextType(name=RUN_TYPE))
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id) if run_id else None
    if context is None:
        context = pb.Context(type_id=type_id, name=run_id or _unused_run_id(store))
    for key in (OUTCOME, ERROR, SUMMARY):
        context.custom_properties.pop(key, None)
    _set(context, known)
    store.put_contexts([context])
    return context.name


def _unused_run_id(store: MetadataStore) -> str:
    now = run_id = datetime.now().isoformat()
    number = 1
    while store.get_context_by_type_and_name(RUN_TYPE, run_id) is not None:  # the clock went backwards
        number += 1
        run_id = f"{now}-{number}"
    return run_id


def put(store: MetadataStore, run_id: str, values: Mapping[str, str]) -> None:
    """Adds to the record of a run; creates the record if it does not exist."""
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id) or pb.Context(
        type_id=store.put_context_type(pb.ContextType(name=RUN_TYPE)), name=run_id
    )
    _set(context, values)
    store.put_contexts([context])


def _set(context: pb.Context, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        if value:
            context.custom_properties[key].string_value = value


def code_sha256(*folders: str, root: Path = PROJECT_ROOT) -> str:
    """SHA-256 over the names and contents of the *.py files of some folders of the project."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in folders for p in (root / folder).rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def settings_of(properties: Mapping[str, object]) -> dict[str, object]:
    """The settings of a run, flat: {"training.epochs": 3, ...}; empty if not recorded."""
    text = properties.get(SETTINGS)
    return dict(_flat(json.loads(text))) if isinstance(text, str) else {}


def metrics_of(properties: Mapping[str, object]) -> dict[str, dict[str, float | None]]:
    """Metrics of a run by slice from its summary, `all data` first; empty if the run did not get that far."""
    text = properties.get(SUMMARY)
    if not isinstance(text, str):
        return {}
    summary = json.loads(text)
    slices = {name: values["metrics"] for name, values in summary["slices"].items()}
    return {"all data": summary["metrics"], **slices}


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shown(value: object) -> str:
    """A setting in readable form, without Python syntax.

    Example:
        >>> shown([{"metric": "accuracy", "slice": "", "min": 0.5, "max": None}, {"metric": "auc", "min": 0.9}])
        'metric accuracy, min 0.5; metric auc, min 0.9'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items() if _is_set(v)) or "none"
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(v, Mapping) for v in value) else ", ").join(
            map(shown, value)
        ) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == "":
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_set(value: object) -> bool:
    """Whether a key of a table differs from its default."""
    return value is not None and value not in ("", [], {}) and not (type(value) is int and value == 0)


def _commit() -> str:
    """The git commit of the project, with + if files changed since; empty without a checkout."""
    if not (PROJECT_ROOT / ".git").exists():
        return ""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(PROJECT_ROOT), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # no git, or a checkout of another user: the hash of the code is enough
    return commit + ("+" if changes else "")


RECORD_FILE = "training.json"

# Trainings older than the held-out part.
_CHOSEN_ON_EVAL = "epoch {best_epoch} of {num_epochs}, chosen on the eval split, which the gates read as well"


def read_record(model_run: Path) -> dict[str, Any]:
    """The record of a training.

    Args:
        model_run: folder of Trainer's ModelRun.

    Returns:
        The fields of `bert_job.Report`; empty if there is none.
    """
    path = model_run / RECORD_FILE
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def chosen_on(record: Mapping[str, Any]) -> str:
    """The epoch whose weights were kept, and the data that selected it.

    Example:
        >>> chosen_on({"best_epoch": 3, "history": {"accuracy": [0.5, 0.6, 0.8, 0.9]}})
        'epoch 3 of 4, chosen on the eval split, which the gates read as well'

    Args:
        record: of `read_record`.
    """
    if "chosen_on" in record:
        return str(record["chosen_on"])
    num_epochs = len(record["history"]["accuracy"])
    return _CHOSEN_ON_EVAL.format(best_epoch=record["best_epoch"], num_epochs=num_epochs)
