"""The REST front: TF Serving's routes over `predictions.Models`.

Written on aiohttp: it brings its own HTTP server (Starlette would need one beside it), and TFX's stack
installs it anyway.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import re
import threading
from concurrent import futures
from typing import Any
from urllib.parse import unquote

import grpc
from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from serving.model_server import json_inputs, json_outputs, tensors
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.predictions import Models
from serving.model_server.versions import State

_MAX_BODY_BYTES = 100 * 2**20
_MAX_INT64 = 2**63 - 1
_NUM_THREADS = 16

_TARGET = r"/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?"
# The path may be in any case; a verb and the word `metadata` may not.
_POST = re.compile(rf"(?i:/v1{_TARGET}):(classify|regress|predict)")
_GET = re.compile(rf"(?i:/v1{_TARGET}(?:/(metadata))?)")


class RestServer:
    """Listens on one port, with an event loop in a thread of its own."""

    def __init__(self, models: Models, *, host: str, port: int) -> None:
        """Binds nothing yet.

        Args:
            models: what is served.
            host: address to listen on.
            port: 0 is any free one.
        """
        self._models = models
        self._address = (host, port)
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._workers = futures.ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="rest")
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None)

    def start(self) -> None:
        """Binds the port and begins to answer.

        Raises:
            OSError: the port is taken.
        """
        self._thread.start()
        self._wait(self._listen())

    def stop(self, grace_seconds: float) -> None:
        """Takes no new connections and waits for the requests under way."""
        self._wait(self._close(grace_seconds))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workers.shutdown()

    def _wait(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._address)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self, grace_seconds: float) -> None:
        self._runner._shutdown_timeout = grace_seconds  # known only when stopping
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        if not path.lower().startswith("/v1/"):
            return web.Response(status=404, text="Not Found")
        try:
            return await self._route(request, path)
        except ServingError as error:
            return _json(json.dumps({"error": error.message}, ensure_ascii=False), status=error.http_status)
        except web.HTTPRequestEntityTooLarge:
            return _json(
                json.dumps({"error": f"the body is larger than {_MAX_BODY_BYTES} bytes"}), status=400
            )

    async def _route(self, request: web.Request, path: str) -> web.Response:
        method = request.method
        match = {"POST": _POST, "GET": _GET}.get(method, _POST).fullmatch(path)
        if method not in ("POST", "GET") or match is None:
            raise invalid_argument(f"Malformed request: {method} {path}")
        if int(match[2] or 0) > _MAX_INT64:
            return web.Response(status=400)
        spec = _model_spec(match)
        if method == "POST":
            body = await request.read()
            call = functools.partial(self._post, spec, match[4], body)
        elif not spec.name:
            raise invalid_argument("Missing model name in request.")
        else:
            call = functools.partial(self._metadata if match[4] == "metadata" else self._status, spec)
        return _json(await self._loop.run_in_executor(self._workers, call))

    def _post(self, spec: model_pb2.ModelSpec, verb: str, body: bytes) -> str:
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        if verb != "predict":
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"{verb} is not implemented; use predict")
        with self._models.use(spec) as servable:
            document = json_inputs.parse_object(body)
            name = json_inputs.signature_name(document)
            try:
                signature = servable.signature(name)
            except ServingError as error:
                message = f'Serving signature name: "{name or "serving_default"}" not found in signature def'
                raise invalid_argument(message) from error
            arrays, rows = json_inputs.read_inputs(document, inputs=signature.inputs)
            protos = {alias: tensors.to_proto(array) for alias, array in arrays.items()}
            outputs = servable.predict(protos, signature_name=name)
        return json_outputs.write_outputs(outputs, rows=rows)

    def _status(self, spec: model_pb2.ModelSpec) -> str:
        entries = [
            {
                "version": str(version),
                "state": State.Name(status.state),
                "status": {
                    "error_code": "UNKNOWN" if status.error else "OK",
                    "error_message": status.error,
                },
            }
            for version, status in self._models.statuses(spec).items()
        ]
        return json.dumps({"model_version_status": entries}, ensure_ascii=False)

    def _metadata(self, spec: model_pb2.ModelSpec) -> str:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        )
        response = self._models.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        document = {
            "model_spec": _as_dict(response.model_spec),
            "metadata": {"signature_def": _as_dict(signatures)},
        }
        return json.dumps(document, ensure_ascii=False)


def _model_spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(match[1] or ""))
    if match[2]:
        spec.version.value = int(match[2])
    if match[3]:
        spec.version_label = unquote(match[3])
    return spec


def _as_dict(message: Any) -> dict[str, Any]:
    """A proto with its own field names and every default; protobuf 5 renamed the option for defaults."""
    parameters = inspect.signature(json_format.MessageToDict).parameters
    old = "including_default_value_fields"
    with_defaults = old if old in parameters else "always_print_fields_with_no_presence"
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True, **{with_defaults: True}))


def _json(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json")
