"""InfraValidator without docker: a real server process loads the candidate and answers real requests.

`infra_executor.py` does the work; here is the component with its settings.
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
    """TFX's InfraValidatorSpec, with what the answers are checked against."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        **standard_component_specs.InfraValidatorSpec.PARAMETERS,
        "text": ExecutionParameter(type=str),
        "labels": ExecutionParameter(type=str),
    }
    INPUTS = standard_component_specs.InfraValidatorSpec.INPUTS
    OUTPUTS = standard_component_specs.InfraValidatorSpec.OUTPUTS


class InfraValidator(base_component.BaseComponent):
    """Loads a model in a real server and asks it; made by `infra_validator`."""

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
        examples: channel of raw Examples; the requests are made of them.
        data: names the text columns and the labels.
        serving: the TF Serving release to audit against, and the number of requests; 0: the candidate must
            answer two, and no warm-up travels with it.
        server: `process`, our own server on this machine, or `docker`, TF Serving itself.
        max_loading_seconds: how long loading may take.
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
