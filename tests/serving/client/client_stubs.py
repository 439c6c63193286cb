"""Stub servers for the tests of the client: they fail as they are told, and remember what they were asked."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

METADATA = {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": {"text": {}}}}}}}
ANSWER = {"outputs": {"label": ["good"], "labels": [["bad", "good"]], "probabilities": [[0.25, 0.75]]}}

Behaviour = Callable[[http.server.BaseHTTPRequestHandler], None]


def answer(status: int, body: Any, **headers: str) -> Behaviour:
    def behave(handler: http.server.BaseHTTPRequestHandler) -> None:
        data = json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return behave


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def sleep(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(0.6)
    handler.close_connection = True


class Stub(http.server.ThreadingHTTPServer):
    """Answers `:predict` by one behaviour after the other, and remembers the connections."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, *behaviours: Behaviour) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: in two, the second waits 40 ms for the first

            def do_GET(self) -> None:
                answer(200, METADATA)(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stub.seconds.append(time.monotonic())
                stub.connections.add(self.client_address)
                stub.behaviours.pop(0)(self)

            def log_message(self, *args: object) -> None:
                pass

        stub = self
        self.behaviours = list(behaviours)
        self.seconds: list[float] = []
        self.connections: set[Any] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def running(stub: Stub) -> Iterator[Stub]:
    thread = threading.Thread(target=stub.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        thread.join()
        stub.server_close()


class GrpcStub(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Ends the first calls with the codes given, and remembers each deadline."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes = list(codes)
        self.deadlines: list[float] = []
        self.seconds = 0.0
        """How long a call takes."""

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signatures.signature_def["serving_default"].inputs["text"].name = "text:0"
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(signatures)
        return response

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.deadlines.append(context.time_remaining())
        time.sleep(self.seconds)
        if self.codes:
            context.abort(self.codes.pop(0), "as told")
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 3
        for name, value in ANSWER["outputs"].items():
            dtype = tf.float32 if name == "probabilities" else tf.string
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
        return response


@contextlib.contextmanager
def grpc_running(
    stub: GrpcStub, *, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(stub, server)
    address = f"localhost:{port}"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()
