"""The function from which TFX's Evaluator gets its extractors.

TFX reloads this file each time, so it has no state.
"""

from __future__ import annotations

from typing import Any

import tensorflow_model_analysis as tfma

from bert_pipeline.components.predictions import WritePredictions, writing

_SLICE_KEYS = "ExtractSliceKeys"  # tfma.extractors.slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME

# An execution property of TFX's Evaluator, and what it is to hold.
PROPERTY = {"custom_extractors": f"{__name__}.custom_extractors"}


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's default extractors and the one that writes; called by TFX's Evaluator."""
    defaults = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    # A model that is alone has no name here.
    names = {spec.name: "baseline" if spec.is_baseline else "candidate" for spec in eval_config.model_specs}
    label_key = eval_config.model_specs[0].label_key
    writer = tfma.extractors.Extractor(
        stage_name="WritePredictions",
        ptransform=WritePredictions(writing(), names=names, label_key=label_key),
    )
    # The metrics are computed behind TFMA's extractor of slice keys: the answers must be in order before it.
    place = [extractor.stage_name for extractor in defaults].index(_SLICE_KEYS)
    return [*defaults[:place], writer, *defaults[place:]]
