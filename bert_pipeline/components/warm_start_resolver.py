"""The base model of a warm start: the last blessed model in ML Metadata.

An example of a Resolver to copy: the strategy is a class with one method and JSON configuration.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import types
from tfx import v1 as tfx
from tfx.utils import json_utils

from bert_pipeline.metadata.run_history import INPUT_EVENTS, OUTPUT_EVENTS, event_key
from bert_pipeline.serving_folder import served
from bert_pipeline.serving_folder.served import withdrawn
from bert_pipeline.settings.errors import UserError

# Input keys of the resolver; the last two are the run's training data.
MODEL, MODEL_BLESSING, EXAMPLES, TRANSFORM_GRAPH = "model", "model_blessing", "examples", "transform_graph"
_BASE_MODEL = "base_model"
# Custom properties of a ModelBlessing: id of the model that was evaluated, and the verdict.
_EVALUATED, _BLESSED = "current_model_id", "blessed"


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model was trained."""

    model: int
    inputs: Mapping[str, tuple[int, ...]]
    """Artifact ids by input key, in order."""
    custom_config: Mapping[str, Any]


class WarmStartStrategy(tfx.dsl.experimental.ResolverStrategy):
    """Resolves the newest blessed model that was not rolled back; for a repeated training, the base of the first.

    The second rule lets a repeated run find its training in the cache: the newest blessed model is then the
    output of that training, and starting from it would retrain in each run.
    """

    def __init__(self, custom_config: str, push_destination: str = "") -> None:
        """Sets Trainer's custom_config as JSON, and the served folder, whose list of rollbacks is read."""
        self._custom_config: Mapping[str, Any] = json.loads(custom_config)
        self._push_destination = push_destination

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves the base model.

        Args:
            store: ML Metadata.
            input_dict: `model`, `model_blessing`: all of the pipeline; `examples` and
                `transform_graph`: what this run trains on.

        Returns:
            `model`: the base model, or nothing if no model was blessed yet; the other inputs unchanged.

        Raises:
            UserError: the base model was trained on another encoder.
        """
        trainings = _trainings(store, [model.id for model in input_dict[MODEL]])
        given = {key: tuple(a.id for a in input_dict[key]) for key in (EXAMPLES, TRANSFORM_GRAPH)}
        same = [t for t in trainings if self._is_same(t, given)]
        if same:
            base = next(iter(same[-1].inputs.get(_BASE_MODEL, ())), None)
        else:
            base = self._newest_blessed(store, input_dict)
            self._check_encoder(base, trainings)
        return {**input_dict, MODEL: [model for model in input_dict[MODEL] if model.id == base]}

    def _is_same(self, training: Training, given: Mapping[str, tuple[int, ...]]) -> bool:
        inputs = {key: training.inputs.get(key, ()) for key in given}
        return inputs == given and training.custom_config == self._custom_config

    def _newest_blessed(
        self, store: MetadataStore, input_dict: Mapping[str, Sequence[types.Artifact]]
    ) -> int | None:
        """Orders by blessing id, because clocks can go backwards."""
        alive = {model.id for model in input_dict[MODEL]} - self._withdrawn_models(store)
        blessings = sorted(input_dict[MODEL_BLESSING], key=lambda blessing: blessing.id, reverse=True)
        for blessing in blessings:
            evaluated = blessing.get_int_custom_property(_EVALUATED)
            if blessing.get_int_custom_property(_BLESSED) == 1 and evaluated in alive:
                return int(evaluated)
        return None

    def _withdrawn_models(self, store: MetadataStore) -> set[int]:
        if not self._push_destination:
            return set()
        base_dir = Path(self._push_destination)
        entries = withdrawn(base_dir).values()
        versions = [served.version_in(base_dir, entry.get("version", "0")) for entry in entries]
        models = [served.model_of_version(store, version) for version in versions]
        return {model for model in models if model is not None}

    def _check_encoder(self, base: int | None, trainings: Sequence[Training]) -> None:
        for training in trainings:
            had, has = (c.get("encoder_sha256") for c in (training.custom_config, self._custom_config))
            if training.model == base and had != has:
                raise UserError(
                    f"training.warm_start: the last blessed model ({base}) was trained on an encoder with sha256 "
                    f"{str(had)[:12]}, and encoder.handle now names one with {str(has)[:12]}; set "
                    'training.warm_start = "none" until a model with this encoder is blessed'
                )


def _trainings(store: MetadataStore, model_ids: Sequence[int]) -> list[Training]:
    """How each model was trained, oldest first."""
    if not model_ids:
        return []
    outputs = [e for e in store.get_events_by_artifact_ids(list(model_ids)) if e.type in OUTPUT_EVENTS]
    found = store.get_executions_by_id(sorted({e.execution_id for e in outputs}))
    executions = {e.id: e for e in found if e.last_known_state == pb.Execution.COMPLETE}
    if not executions:
        return []
    inputs: dict[int, dict[str, tuple[int, ...]]] = {}
    for event in store.get_events_by_execution_ids(sorted(executions)):
        if event.type in INPUT_EVENTS:
            by_key = inputs.setdefault(event.execution_id, {})
            by_key[event_key(event)] = (*by_key.get(event_key(event), ()), event.artifact_id)
    return [
        Training(
            event.artifact_id,
            inputs.get(event.execution_id, {}),
            json.loads(
                executions[event.execution_id].custom_properties["custom_config"].string_value or "{}"
            ),
        )
        for event in sorted(outputs, key=lambda e: e.artifact_id)
        if event.execution_id in executions
    ]


def warm_start(
    *,
    custom_config: Mapping[str, Any],
    push_destination: Path,
    examples: tfx.dsl.Channel,
    transform_graph: tfx.dsl.Channel,
) -> tfx.dsl.Resolver:
    """The resolver for a Trainer with this custom_config, examples and transform graph."""
    return tfx.dsl.Resolver(
        strategy_class=WarmStartStrategy,
        config={
            "custom_config": json_utils.dumps(dict(custom_config)),
            "push_destination": str(push_destination),
        },
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
        examples=examples,
        transform_graph=transform_graph,
    ).with_id("WarmStart")
