"""The InfraValidator's executor: loads the candidate in a real server and sends it real requests.

It reuses from TFX's executor the parsing of settings, the handling of SIGTERM, the blessing and the copy
with warm-up requests. Private names it uses: `Executor._Do`, `_PrepareModelPath`, `_CreateWarmupModel`,
`_AddCleanup`, and the module's `_mark_blessed`, `_mark_not_blessed`, `_create_model_server_runner`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tfx import types
from tfx.components.infra_validator import error_types, serving_bins
from tfx.components.infra_validator import executor as stock
from tfx.components.infra_validator.model_server_runners import base_runner
from tfx.proto import infra_validator_pb2
from tfx.utils import io_utils, path_utils

from bert_pipeline.components import infra_requests, op_audit
from bert_pipeline.components.example_gen import read_records
from bert_pipeline.components.infra_requests import Refused
from bert_pipeline.components.server_process import ModelNotLoaded, ServerNotStarted, ServerProcess
from bert_pipeline.settings.errors import UserError

# Custom property of the InfraBlessing, and a file in it: the verdict in one sentence.
REASON = "reason"
REASON_FILE = "reason.txt"
SERVER_LOG_FILE = "server.log"

_REQUEST_SECONDS = 120.0

Runner: TypeAlias = ServerProcess | base_runner.BaseModelServerRunner


class Executor(stock.Executor):
    """Blesses a model that a server loads and that answers; otherwise records the reason."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Validates the model; see TFX's executor for the arguments.

        Raises:
            UserError: the server could not be started, which is not the model's fault: nothing is
                recorded, and the next run tries again.
        """
        self._text_columns: list[str] = json.loads(exec_properties["text"])
        self._labels: list[str] = json.loads(exec_properties["labels"])
        super().Do(input_dict, output_dict, exec_properties)

    def _Do(
        self,
        model: types.Artifact,
        examples: types.Artifact,
        blessing: types.Artifact,
        serving_spec: infra_validator_pb2.ServingSpec,
        validation_spec: infra_validator_pb2.ValidationSpec,
        request_spec: infra_validator_pb2.RequestSpec,
    ) -> None:
        model_path = path_utils.serving_model_path(model.uri)
        self._server_log = ""
        try:
            self._audit(model_path, tf_serving_version=serving_spec.tensorflow_serving.tags[0])
            requests = infra_requests.build_requests(
                _read_records(examples, split=request_spec.split_name, num_records=request_spec.num_examples),
                model_name=serving_spec.model_name,
                text_columns=self._text_columns,
                num_requests=request_spec.num_examples,
            )
            self._serve(self._PrepareModelPath(model, serving_spec), serving_spec, validation_spec, requests)
        except (Refused, ModelNotLoaded) as refusal:
            stock._mark_not_blessed(blessing)
            _write_reason(blessing, f"refused: {refusal}")
            io_utils.write_string_file(os.path.join(blessing.uri, SERVER_LOG_FILE), self._server_log)
            return
        if request_spec.make_warmup:
            self._CreateWarmupModel(blessing, model_path, warmup_requests=requests)
        stock._mark_blessed(blessing)
        _write_reason(blessing, f"a server loaded it and answered {len(requests)} requests")

    def _audit(self, model_path: str, *, tf_serving_version: str) -> None:
        """Checks that need no server: ops and signatures."""
        try:
            infra_requests.check_signatures(
                op_audit.read_serving_graph(model_path), text_columns=self._text_columns
            )
            missing = op_audit.missing_ops(model_path, tf_serving_version=tf_serving_version)
        except op_audit.UnreadableModel as error:
            raise Refused(str(error)) from error
        if missing:
            raise Refused(
                f"the exported graph uses {', '.join(missing)}, which TensorFlow Serving {tf_serving_version} "
                "does not have"
            )

    def _serve(
        self,
        version_path: str,
        serving_spec: infra_validator_pb2.ServingSpec,
        validation_spec: infra_validator_pb2.ValidationSpec,
        requests: list[predict_pb2.PredictRequest],
    ) -> None:
        """Runs the server and sends the requests; retries if the server did not start.

        Raises:
            UserError: it did not start in any attempt.
        """
        for tries_left in reversed(range(validation_spec.num_tries)):
            runner = self._make_runner(version_path, serving_spec)
            deadline = time.time() + validation_spec.max_loading_time_seconds
            try:
                self._ask(runner, requests, deadline=deadline, serving_spec=serving_spec)
                return
            except ServerNotStarted as error:
                if not tries_left:
                    raise UserError(
                        f"InfraValidator: {error}\nthis says nothing about the model; fix the cause (memory, "
                        "ports, the environment) and run again: the run goes on from here"
                    ) from error
            finally:
                self._server_log = runner.GetLogs() or ""
                runner.Stop()

    def _make_runner(self, version_path: str, serving_spec: infra_validator_pb2.ServingSpec) -> Runner:
        if serving_spec.WhichOneof("serving_platform") != "local_docker":
            return ServerProcess(
                model_base_path=os.path.dirname(version_path),
                model_name=serving_spec.model_name,
                work_dir=self._get_tmp_dir(),
            )
        if not docker_is_at_hand():
            raise UserError(
                "server = 'docker': no docker engine answers `docker info`; start one, or use 'process'"
            )
        (binary,) = serving_bins.parse_serving_binaries(serving_spec)
        return stock._create_model_server_runner(version_path, binary, serving_spec)

    def _ask(
        self,
        runner: Runner,
        requests: list[predict_pb2.PredictRequest],
        *,
        deadline: float,
        serving_spec: infra_validator_pb2.ServingSpec,
    ) -> None:
        """Starts the server, waits for the model and checks every answer."""
        runner.Start()
        (binary,) = serving_bins.parse_serving_binaries(serving_spec)
        try:
            runner.WaitUntilRunning(deadline)
            binary.MakeClient(runner.GetEndpoint()).WaitUntilModelLoaded(deadline, polling_interval_sec=1)
        except (error_types.DeadlineExceeded, error_types.ValidationFailed) as error:
            raise ModelNotLoaded(f"the server did not load it: {error}") from error
        except error_types.JobAborted as error:
            raise ServerNotStarted(str(error)) from error
        with grpc.insecure_channel(runner.GetEndpoint()) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for request in requests:
                infra_requests.check_response(request, _predict(stub, request, runner), labels=self._labels)

    def _PrepareModelPath(self, model: types.Artifact, serving_spec: infra_validator_pb2.ServingSpec) -> str:
        """A version folder in TF Serving's layout that links to the model instead of copying it, as TFX does."""
        base_path = Path(self._get_tmp_dir()) / serving_spec.model_name
        shutil.rmtree(base_path, ignore_errors=True)
        base_path.mkdir(parents=True)
        self._AddCleanup(shutil.rmtree, base_path)
        version_path = base_path / "1"
        version_path.symlink_to(os.path.abspath(path_utils.serving_model_path(model.uri)))
        return str(version_path)


def _predict(stub: Any, request: predict_pb2.PredictRequest, runner: Any) -> predict_pb2.PredictResponse:
    try:
        return stub.Predict(request, timeout=_REQUEST_SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE and isinstance(runner, ServerProcess):
            time.sleep(1.0)  # the connection breaks shortly before the process is seen to end
            runner.raise_if_ended()
        signature = request.model_spec.signature_name
        raise Refused(f"{signature} answered {error.code().name}: {_first_line(error.details())}") from error


def _first_line(text: str | None) -> str:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "no details")


def _read_records(examples: types.Artifact, *, split: str, num_records: int) -> list[bytes]:
    """The first records of a split, the same in each run; TFX's own reader shuffles."""
    records = list(itertools.islice(read_records(examples, split), num_records))
    if not records:
        raise UserError(
            f"data.files: split {split!r} has no examples, and InfraValidator needs some as requests"
        )
    return records


def _write_reason(blessing: types.Artifact, reason: str) -> None:
    blessing.set_string_custom_property(REASON, reason)
    io_utils.write_string_file(os.path.join(blessing.uri, REASON_FILE), reason + "\n")


def docker_is_at_hand() -> bool:
    """Whether a docker engine answers on this machine."""
    try:
        return (
            subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
