"""Resolves the model in service and its blessing through ML Metadata."""

from __future__ import annotations

from ml_metadata import MetadataStore
from tfx import types
from tfx import v1 as tfx

from bert_pipeline.components import baseline_resolver

# Input keys of the resolver.
MODEL, PUSHED_MODEL, MODEL_BLESSING = "model", "pushed_model", "model_blessing"
# Custom properties of a ModelBlessing: id of the model that was evaluated, and the verdict.
_EVALUATED, _BLESSED = "current_model_id", "blessed"


class ServedModelStrategy(tfx.dsl.experimental.ResolverStrategy):
    """Resolves the model in service, and the newest evaluation that blessed it.

    A later run may have refused the same model under a stricter bound; the model stays in service.
    """

    def __init__(self, push_destination: str = "") -> None:
        """Sets the served folder, as in `ModelInServiceStrategy`."""
        self._push_destination = push_destination

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves both.

        Args:
            store: ML Metadata.
            input_dict: `model`, `pushed_model`, `model_blessing`: all artifacts of the pipeline.

        Returns:
            `model` and `model_blessing`: one each, or none if nothing was pushed; `pushed_model` unchanged.
        """
        in_service = baseline_resolver.model_in_service(
            store, input_dict[PUSHED_MODEL], push_destination=self._push_destination
        )
        models = [model for model in input_dict[MODEL] if model.id == in_service]
        blessings = [
            blessing
            for blessing in input_dict[MODEL_BLESSING]
            if models
            and blessing.get_int_custom_property(_EVALUATED) == in_service
            and blessing.get_int_custom_property(_BLESSED) == 1
        ]
        newest = sorted(blessings, key=lambda blessing: blessing.id)[-1:]
        return {**input_dict, MODEL: models, MODEL_BLESSING: newest}


class GivenModelStrategy(tfx.dsl.experimental.ResolverStrategy):
    """Resolves a model by its id, for a version that is not in service."""

    def __init__(self, model_id: int = 0) -> None:
        """Sets the id in ML Metadata."""
        self._model_id = model_id

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves `model` among all models of the pipeline; none if it was removed."""
        del store
        return {MODEL: [model for model in input_dict[MODEL] if model.id == self._model_id]}
