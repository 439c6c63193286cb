"""The baseline: the model in service, found in the served folder and through ML Metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_metadata import MetadataStore
from tfx import types
from tfx import v1 as tfx

from bert_pipeline.serving_folder import served

# Input keys of the resolver.
MODEL = "model"
CANDIDATE = "candidate"
PUSHED_MODEL = "pushed_model"


class ModelInServiceStrategy(tfx.dsl.experimental.ResolverStrategy):
    """Resolves the model in service; for a candidate already in service, the model before its first push.

    TFX's LatestBlessedModelStrategy takes the newest blessed model, which in a repeated run is the
    candidate itself: an identical second run then evaluates a model against itself, under a new cache
    key, and pushes it again. With this strategy a repeated run gets the baseline of the first one.
    """

    def __init__(self, push_destination: str = "") -> None:
        """Sets the served folder, whose highest version is in service; if empty, the last push is in service."""
        self._push_destination = push_destination

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves the baseline.

        Args:
            store: ML Metadata.
            input_dict: `model`: every model of the pipeline; `pushed_model`: every push; `candidate`: the
                model that this run trained.

        Returns:
            `model`: the baseline, if any; the other inputs unchanged.
        """
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        in_service = model_in_service(
            store, input_dict[PUSHED_MODEL], push_destination=self._push_destination
        )
        if in_service in candidates:
            pushed = _pushed_model_ids(store, input_dict[PUSHED_MODEL])
            first_push = min((i for i, model in enumerate(pushed) if model in candidates), default=0)
            in_service = pushed[first_push - 1] if first_push else None
        return {**input_dict, MODEL: [model for model in input_dict[MODEL] if model.id == in_service]}


def model_in_service(
    store: MetadataStore, pushes: Sequence[types.Artifact], *, push_destination: str
) -> int | None:
    """Id of the Model that is served now; None if there is none.

    Args:
        store: ML Metadata.
        pushes: every PushedModel of the pipeline.
        push_destination: the served folder, whose highest version is in service. If it is empty or
            unknown to ML Metadata, uses the last pushed model.
    """
    versions = served.served_versions(Path(push_destination)) if push_destination else []
    found = served.model_of_version(store, versions[-1]) if versions else None
    if found is not None:
        return found
    pushed = _pushed_model_ids(store, pushes)
    return pushed[-1] if pushed else None


def _pushed_model_ids(store: MetadataStore, pushes: Sequence[types.Artifact]) -> list[int]:
    """Ids of the models that were actually pushed, latest last.

    Ordered by version, which always increases: a push may be recorded long after it was made.
    """
    versions = {
        p.id: int(p.get_string_custom_property("pushed_version") or 0)
        for p in pushes
        if p.get_int_custom_property("pushed") == 1
    }
    real = sorted(versions, key=lambda push: (versions[push], push))
    models = served.models_of_pushes(store, real)
    return [models[push] for push in real if push in models]
