"""The trainings of a task, as ML Metadata has them, with what TensorBoard shows of each."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_pipeline.history import compare, lineage
from bert_pipeline.metadata import run_record
from bert_pipeline.metadata.run_history import Execution, History, Run
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# What the Trainer did, beside its curves; see modules/bert_job.py.
REPORT_FILE = "training.json"

Setting = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Training:
    """One training that took place (and was not found in the cache), with its files."""

    name: str
    """As TensorBoard shows it: `run-2_2026-11-21_spans-1-2_version-1795260076`."""
    model_run: int
    """Id of the ModelRun artifact."""
    model_run_dir: Path
    """The Trainer's curves, weights and training.json."""
    model_dir: Path
    """The SavedModel."""
    examples_dir: Path | None
    """Raw Examples of its last evaluation, one folder a split; None: it was not evaluated, or they are gone."""
    settings: Mapping[str, Setting]
    """`training.epochs`, `encoder.handle`, `text.max_seq_length`, ..., and `spans`."""
    metrics: Mapping[str, float]
    """On all data, at its last evaluation; empty: it was not evaluated."""


def trainings(history: History, *, last: int) -> list[Training]:
    """The last trainings whose files are there, the oldest first.

    Raises:
        UserError: there is none.
    """
    found = [
        _training(history, run, execution)
        for run in history.runs
        for execution in (history.executions[i] for i in run.executions)
        if _has_files(history, execution)
    ]
    if not found:
        raise UserError(
            f"no training of {history.task} has files (none has ended, or gc removed them); "
            f"{typed.command('pipeline', task=history.task)} first"
        )
    return found[-last:]


def _has_files(history: History, execution: Execution) -> bool:
    """Whether it is a training that took place, and is not removed."""
    if execution.node != "Trainer" or execution.state != "COMPLETE" or "model_run" not in execution.outputs:
        return False
    return Path(history.artifacts[execution.outputs["model_run"][0]].uri, REPORT_FILE).is_file()


def _training(history: History, run: Run, execution: Execution) -> Training:
    model_run, model = execution.outputs["model_run"][0], execution.outputs["model"][0]
    evaluator = lineage.last_evaluator(history, model)
    spans = compare.spans(history, run)
    model_run_dir = Path(history.artifacts[model_run].uri)
    overall = lineage.metrics_of(history, evaluator).get("all data", {})
    return Training(
        name=_name(run, spans=spans, version=_version(history, model)),
        model_run=model_run,
        model_run_dir=model_run_dir,
        model_dir=Path(history.artifacts[model].uri) / "Format-Serving",
        examples_dir=_examples_dir(history, evaluator),
        settings=_settings(run, report=_report(model_run_dir), spans=spans),
        metrics={k: v for k, v in overall.items() if v is not None and math.isfinite(v)},
    )


def _name(run: Run, *, spans: tuple[str, ...], version: str) -> str:
    span = [f"span{'s' * (len(spans) > 1)}-{'-'.join(spans)}"] if spans else []
    outcome = str(run.properties.get(run_record.OUTCOME) or "")
    end = [f"version-{version}"] if version else [outcome.replace(" ", "-")] if outcome else []
    return "_".join([f"run-{run.number}", run.name[:10], *span, *end])


def _version(history: History, model: int) -> str:
    """The newest version that the model was pushed as; empty: none."""
    pushes = [
        history.artifacts[push].properties
        for execution in history.consumers(model)
        for push in execution.outputs.get("pushed_model", ())
    ]
    versions = [str(push["pushed_version"]) for push in pushes if push.get("pushed") == 1]
    return versions[-1] if versions else ""


def _examples_dir(history: History, evaluator: Execution | None) -> Path | None:
    ids = evaluator.inputs.get("examples", ()) if evaluator else ()
    folders = [Path(history.artifacts[i].uri) for i in ids]
    return folders[0] if folders and folders[0].is_dir() else None


def _report(model_run_dir: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((model_run_dir / REPORT_FILE).read_text(encoding="utf-8"))
    return report


def _settings(run: Run, *, report: dict[str, Any], spans: tuple[str, ...]) -> dict[str, Setting]:
    """What the Trainer wrote down, and of the run's record what it does not know."""
    found: dict[str, Any] = {
        f"{section}.{key}": value
        for section in ("encoder", "training")
        for key, value in report[section].items()
    }
    found |= {k: v for k, v in run_record.settings_of(run.properties).items() if k.startswith("text.")}
    found["spans"] = ", ".join(spans) or "none"
    return {k: v for k, v in sorted(found.items()) if isinstance(v, bool | int | float | str)}
