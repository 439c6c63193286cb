"""InfraValidator without docker: a real server process loads the candidate and answers real requests.

The component and its settings; `infra_executor.py` has the executor.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import bert_task
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import infra_validator_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from bert_pipeline.components import infra_executor, infra_requests, op_audit
from bert_pipeline.settings import sections
from bert_pipeline.settings.errors import UserError

_MODEL_NAME = "candidate"
_MAX_LOADING_SECONDS = 300
_NUM_TRIES = 2
_IMAGE = "tensorflow/serving"


class InfraValidatorSpec(types.ComponentSpec):
    """TFX's InfraValidatorSpec, plus the expected form of the answers."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        **standard_component_specs.InfraValidatorSpec.PARAMETERS,
        "text": ExecutionParameter(type=str),
        "labels": ExecutionParameter(type=str),
    }
    INPUTS = standard_component_specs.InfraValidatorSpec.INPUTS
    OUTPUTS = standard_component_specs.InfraValidatorSpec.OUTPUTS


class InfraValidator(base_component.BaseComponent):
    """Loads a model in a real server and sends requests; built by `infra_validator`."""

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(infra_executor.Executor)


def infra_validator(
    *,
    model: types.BaseChannel,
    examples: types.BaseChannel,
    data: bert_task.DataConfig,
    serving: sections.ServingConfig,
    server: str = "process",
    max_loading_seconds: int = _MAX_LOADING_SECONDS,
    split: str = "eval",
) -> InfraValidator:
    """Wires the component.

    Args:
        model: channel of the candidate.
        examples: channel of raw Examples, the source of the requests.
        data: names the text columns and the labels.
        serving: the TF Serving release to audit against, and the number of requests; with 0 the candidate
            must answer two, and gets no warm-up requests.
        server: `process`, our own server on this machine, or `docker`, TF Serving itself.
        max_loading_seconds: time limit for loading.
        split: of `examples`.

    Raises:
        UserError: unknown release or server.
    """
    release = op_audit.release_to_audit(serving.tf_serving_version)
    if server not in ("process", "docker"):
        raise UserError(f"server: {server!r} is unknown; use 'process' or 'docker'")
    platform = {"local_docker": infra_validator_pb2.LocalDockerConfig()} if server == "docker" else {}
    spec = InfraValidatorSpec(
        model=model,
        examples=examples,
        blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        serving_spec=infra_validator_pb2.ServingSpec(
            model_name=_MODEL_NAME,
            tensorflow_serving=infra_validator_pb2.TensorFlowServing(image_name=_IMAGE, tags=[release]),
            **platform,
        ),
        validation_spec=infra_validator_pb2.ValidationSpec(
            max_loading_time_seconds=max_loading_seconds, num_tries=_NUM_TRIES
        ),
        request_spec=infra_validator_pb2.RequestSpec(
            tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(
                signature_names=[infra_requests.TEXT_SIGNATURE, infra_requests.EXAMPLES_SIGNATURE]
            ),
            split_name=split,
            num_examples=max(2, serving.num_warmup_requests),
            make_warmup=serving.num_warmup_requests > 0,
        ),
        text=json.dumps(list(data.text)),
        labels=json.dumps(list(data.labels)),
    )
    return InfraValidator(spec=spec)
