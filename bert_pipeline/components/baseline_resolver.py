"""The baseline: the model in service, found through ML Metadata."""

from __future__ import annotations

from collections.abc import Sequence

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx import v1 as tfx

# Input keys of the resolver.
MODEL = "model"
CANDIDATE = "candidate"
PUSHED_MODEL = "pushed_model"


class ModelInServiceStrategy(tfx.dsl.experimental.ResolverStrategy):
    """The model that was pushed last, other than the candidate.

    TFX's LatestBlessedModelStrategy takes the newest blessed model, which in a repeated run is the
    candidate itself: an identical second run then evaluates a model against itself, under a new cache
    key, and pushes it again. Leaving the candidate out makes the answer the same in both runs.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves the baseline.

        Args:
            store: ML Metadata.
            input_dict: `model`: every model of the pipeline; `pushed_model`: every push; `candidate`: the
                model that this run trained.

        Returns:
            `model`: the baseline, or nothing where there is none yet; the rest as it came.
        """
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        in_service = [
            model_id
            for model_id in pushed_model_ids(store, input_dict[PUSHED_MODEL])
            if model_id not in candidates
        ]
        baseline = [model for model in input_dict[MODEL] if in_service and model.id == in_service[0]]
        return {**input_dict, MODEL: baseline}


def pushed_model_ids(store: MetadataStore, pushes: Sequence[types.Artifact]) -> list[int]:
    """Ids of the models that were really pushed, the latest first."""
    real = [p for p in pushes if p.get_int_custom_property("pushed") == 1]
    if not real:
        return []
    push_events = store.get_events_by_artifact_ids([p.id for p in real])
    execution_of = {e.artifact_id: e.execution_id for e in push_events if e.type in _OUTPUTS}
    input_events = store.get_events_by_execution_ids(sorted(set(execution_of.values())))
    model_of = {
        e.execution_id: e.artifact_id
        for e in input_events
        if e.type in _INPUTS and any(step.key == MODEL for step in e.path.steps)
    }
    newest_first = sorted(real, key=lambda p: p.id, reverse=True)
    return [model_of[execution_of[p.id]] for p in newest_first if execution_of.get(p.id) in model_of]


_INPUTS = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
