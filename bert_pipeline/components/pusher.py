"""Pusher with atomic pushes: a server never sees a partial version, and no model is pushed twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import component as stock_component
from tfx.components.pusher import executor as stock
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils

from bert_pipeline.serving_folder.atomic_push import fingerprint, newest_version, push
from bert_pipeline.serving_folder.served import withdrawn
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# Custom properties of the PushedModel beside TFX's `pushed`, `pushed_destination`, `pushed_version`:
# the verdict in one sentence, and whether the model is the one in service now (1), pushed or found there.
REASON = "reason"
IN_SERVICE = "in_service"

_HAS_MODEL = "has_model"  # TFX's property of an InfraBlessing that holds a copy with warm-up requests


class Executor(stock.Executor):
    """Pushes a model that both validators blessed and that is not already in service."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes to the file system; see TFX's executor for the arguments.

        Raises:
            UserError: the destination is not on a file system.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        base_dir = _base_dir(exec_properties)
        refusal = self._refusal(input_dict)
        if refusal:
            self._MarkNotPushed(pushed)
            _note(pushed, f"not pushed: {refusal}", in_service=False)
            return
        source = Path(self.GetModelPath(input_dict))
        current, candidate = newest_version(base_dir), fingerprint(source)
        if current is not None and fingerprint(base_dir / str(current)) == candidate:
            self._MarkPushed(pushed, str(base_dir / str(current)), str(current))
            self._MarkNotPushed(pushed)
            _note(pushed, f"not pushed: it is in service already, as version {current}", in_service=True)
            return
        if rollback := withdrawn(base_dir).get(candidate):
            self._MarkNotPushed(pushed)
            _note(pushed, f"not pushed: {_withdrawal_text(rollback, task=base_dir.name)}", in_service=False)
            return
        version = push(source, base_dir=base_dir, provenance=self._provenance(input_dict))
        self._MarkPushed(pushed, str(base_dir / str(version)), str(version))
        _note(pushed, f"pushed as version {version}", in_service=True)

    def GetModelPath(self, input_dict: dict[str, list[types.Artifact]]) -> str:
        """The InfraValidator's copy with warm-up requests if there is one, else the model."""
        infra_blessing = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.INFRA_BLESSING_KEY]
        )
        if infra_blessing.get_int_custom_property(_HAS_MODEL):
            return path_utils.stamped_model_path(infra_blessing.uri)
        return super().GetModelPath(input_dict)

    def _provenance(self, input_dict: dict[str, list[types.Artifact]]) -> dict[str, str]:
        """The link from a pushed version back to ML Metadata."""
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        found = {"pushed": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
        if model.id:
            found["model artifact"] = str(model.id)
        if self._context and self._context.pipeline_run_id:
            found["pipeline run"] = self._context.pipeline_run_id
        return found

    def _refusal(self, input_dict: dict[str, list[types.Artifact]]) -> str:
        """The reason against a push; empty if the model may be pushed. A missing blessing is a refusal too."""
        for key, who in (
            (standard_component_specs.MODEL_BLESSING_KEY, "the Evaluator"),
            (standard_component_specs.INFRA_BLESSING_KEY, "the InfraValidator"),
        ):
            if not input_dict.get(key):
                return f"{who} gave no blessing"
            if not self.CheckBlessing({key: input_dict[key]}):
                reason = artifact_utils.get_single_instance(input_dict[key]).get_string_custom_property(
                    REASON
                )
                return f"{who} {reason}" if reason else f"{who} did not bless the model"
        return ""


class AtomicPusher(stock_component.Pusher):
    """TFX's Pusher with the executor above; takes the same arguments."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def _base_dir(exec_properties: dict[str, Any]) -> Path:
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
    folder = destination.filesystem.base_directory
    if not folder or "://" in folder:
        raise UserError(
            f"push_destination: {folder!r} has no atomic rename; give a folder on a (mounted) file system"
        )
    return Path(folder)


def _withdrawal_text(rollback: dict[str, str], *, task: str) -> str:
    version = rollback.get("version", "?")
    return (
        f"this very model was in service as version {version} and was rolled back on {rollback.get('when', '?')} "
        f"({rollback.get('reason', '?')}); change the task or the data, or put it back: "
        f"{typed.command('rollback', task=task, to=version)}"
    )


def _note(pushed: types.Artifact, reason: str, *, in_service: bool) -> None:
    pushed.set_string_custom_property(REASON, reason)
    pushed.set_int_custom_property(IN_SERVICE, int(in_service))
    Path(pushed.uri).mkdir(parents=True, exist_ok=True)
    verdict = {"reason": reason, "destination": pushed.get_string_custom_property("pushed_destination")}
    (Path(pushed.uri) / "push.json").write_text(json.dumps(verdict, indent=2) + "\n", encoding="utf-8")
