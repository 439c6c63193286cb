"""The client when a server is full, away, slow or encrypted: stub servers that fail as they are told."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.client import Client, ClientError, Retries, Tls

METADATA = {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": {"text": {}}}}}}}
ANSWER = {"outputs": {"label": ["good"], "labels": [["bad", "good"]], "probabilities": [[0.25, 0.75]]}}
QUICK = Retries(3, first_seconds=0.01)

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

    def __init__(self, *behaviours: Behaviour) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

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


def test_full_or_stopping_server_is_asked_again() -> None:
    behaviours = (answer(503, {"error": "stopping"}), answer(429, {"error": "full"}), answer(200, ANSWER))
    with running(Stub(*behaviours)) as stub, Client(stub.address, model="m", retries=QUICK) as client:
        assert client.classify("x")[0].probabilities == {"bad": 0.25, "good": 0.75}
    assert len(stub.seconds) == 3


def test_lost_connection_is_made_anew() -> None:
    with (
        running(Stub(hang_up, answer(200, ANSWER), answer(200, ANSWER))) as stub,
        Client(stub.address, model="m", retries=QUICK, num_connections=1) as client,
    ):
        assert [p.label for p in client.classify("x")] == ["good"]


def test_connection_is_kept() -> None:
    with (
        running(Stub(*[answer(200, ANSWER)] * 5)) as stub,
        Client(stub.address, model="m", batch_size=1, num_connections=1) as client,
    ):
        client.classify(["x"] * 5)
    assert len(stub.connections) == 1


@pytest.mark.parametrize("status", [400, 404, 500])
def test_error_of_the_request_is_final(status: int) -> None:
    with (
        running(Stub(answer(status, {"error": "no such thing"}))) as stub,
        Client(stub.address, model="m", retries=QUICK) as client,
        pytest.raises(ClientError, match=f'answered {status}: {{"error": "no such thing"}}'),
    ):
        client.classify("x")
    assert len(stub.seconds) == 1


def test_last_error_is_told_with_the_number_of_tries() -> None:
    with (
        running(Stub(*[answer(503, {"error": "stopping"})] * 4)) as stub,
        Client(stub.address, model="m", retries=QUICK) as client,
        pytest.raises(ClientError, match=r"answered 503: .*stopping.*\(tried 4 times\)"),
    ):
        client.classify("x")


def test_retry_after_is_honoured() -> None:
    behaviours = (answer(503, {"error": "later"}, Retry_After="0.3"), answer(200, ANSWER))
    with running(Stub(*behaviours)) as stub, Client(stub.address, model="m", retries=QUICK) as client:
        client.classify("x")
    assert stub.seconds[1] - stub.seconds[0] >= 0.3


def test_time_out_holds_for_all_tries_together() -> None:
    behaviours = [answer(503, {"error": "later"}, Retry_After="9")] * 4
    with (
        running(Stub(*behaviours)) as stub,
        Client(stub.address, model="m", timeout_seconds=0.5) as client,
        pytest.raises(ClientError, match=r"later.*\(tried 1 times; 0\.5 s are over\)"),
    ):
        client.classify("x")
    with (
        running(Stub(sleep)) as stub,
        Client(stub.address, model="m", timeout_seconds=0.3) as client,
        pytest.raises(ClientError, match="gave no answer in time"),
    ):
        client.classify("x")


def test_waits_grow_and_are_random() -> None:
    from serving.client_retries import RetryableError

    retries = Retries(first_seconds=1.0, longest_seconds=3.0)
    for number, most in enumerate((1.0, 2.0, 3.0, 3.0)):
        waits = [retries.wait_seconds(number, RetryableError("")) for _ in range(300)]
        assert 0.8 * most < max(waits) <= most
        assert min(waits) < 0.2 * most


class GrpcStub(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Ends the first calls with the codes given, and remembers each deadline."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes = list(codes)
        self.deadlines: list[float] = []

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signatures.signature_def["serving_default"].inputs["text"].name = "text:0"
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(signatures)
        return response

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.deadlines.append(context.time_remaining())
        if self.codes:
            context.abort(self.codes.pop(0), "as told")
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 3
        for name, value in ANSWER["outputs"].items():
            dtype = tf.float32 if name == "probabilities" else tf.string
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
            if name == "probabilities":
                response.outputs[name].tensor_content = b""
                response.outputs[name].float_val.extend(value[0])
        return response


@contextlib.contextmanager
def grpc_running(stub: GrpcStub) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_grpc_is_retried_alike_and_the_server_knows_the_deadline() -> None:
    stub = GrpcStub(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    with (
        grpc_running(stub) as address,
        Client(address, model="m", protocol="grpc", retries=QUICK, timeout_seconds=20) as client,
    ):
        assert client.classify("x")[0].version == 3
    assert len(stub.deadlines) == 3
    assert all(10 < seconds < 21 for seconds in stub.deadlines)  # the wire rounds up


def test_grpc_error_of_the_request_is_final() -> None:
    stub = GrpcStub(grpc.StatusCode.INVALID_ARGUMENT)
    with (
        grpc_running(stub) as address,
        Client(address, model="m", protocol="grpc", retries=QUICK) as client,
        pytest.raises(ClientError, match="answered INVALID_ARGUMENT: as told"),
    ):
        client.classify("x")
    assert len(stub.deadlines) == 1


def make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate for localhost that is its own authority, and its key, as PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_rest_over_tls_checks_the_server_and_shows_a_certificate(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    stub = Stub(answer(200, ANSWER))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate)
    stub.socket = context.wrap_socket(stub.socket, server_side=True, do_handshake_on_connect=False)
    with running(stub):
        address = f"localhost:{stub.server_port}"
        with Client(address, model="m", tls=Tls(certificate, certificate, key)) as client:
            assert client.classify("x")[0].label == "good"
        with (
            Client(address, model="m", tls=Tls()) as client,
            pytest.raises(ClientError, match="CERTIFICATE_VERIFY_FAILED.*check the TLS settings"),
        ):
            client.classify("x")
    with pytest.raises(ClientError, match="the TLS files cannot be used"):
        Client("x:1", model="m", tls=Tls(ca_file=str(tmp_path / "none.pem"))).classify("x")
