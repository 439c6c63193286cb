"""The proxy of serving/tf_serving ends: what is under way is finished, and nothing new is taken."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import signal
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving.calls import predict_request, prediction_stub
from tests.serving.processes import wait_until
from tests.serving.tf_serving.proxies import PREDICT, Proxy, answers, proxying, texts


class Held:
    """A server over both protocols that answers health checks, and everything else when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.asked = threading.Semaphore(0)
        held = self

        class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
            def Predict(self, request: Any, context: Any) -> predict_pb2.PredictResponse:
                held.wait()
                return predict_pb2.PredictResponse(model_spec=request.model_spec)

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                held.wait()
                self.do_GET()

            def log_message(self, *values: Any) -> None:
                """Says nothing."""

        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), self._grpc)
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.rest_address = f"127.0.0.1:{self._rest.server_address[1]}"

    def wait(self) -> None:
        self.asked.release()
        assert self.let_go.wait(60)

    def __enter__(self) -> Held:
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._grpc.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()


def begins_to_drain(proxy: Proxy) -> bool:
    """Sends the signal and looks for a second: HAProxy loses it in its first tenth of a second."""
    proxy.process.send_signal(signal.SIGUSR1)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not answers(proxy.rest_port) and not answers(proxy.grpc_port), 1)
    return not answers(proxy.rest_port) and not answers(proxy.grpc_port)


def test_sigusr1_finishes_what_is_under_way_and_takes_nothing_new(tmp_path: Path) -> None:
    with (
        Held() as held,
        proxying(held, tmp_path) as proxy,
        grpc.insecure_channel(f"127.0.0.1:{proxy.grpc_port}") as channel,
    ):
        request = predict_request("serving_default", text=["a"])
        calls = [prediction_stub(channel).Predict.future(request, timeout=60) for _ in range(2)]
        connection = http.client.HTTPConnection("127.0.0.1", proxy.rest_port, timeout=60)
        connection.request("POST", PREDICT, texts("a"))
        assert all(held.asked.acquire(timeout=30) for _ in range(3)), "a request did not arrive"
        wait_until(lambda: begins_to_drain(proxy), 30)
        time.sleep(1)
        assert not any(call.done() for call in calls)
        held.let_go.set()
        assert [call.result().model_spec.name for call in calls] == ["toy", "toy"]
        assert connection.getresponse().status == 200
        connection.close()
        assert proxy.process.wait(timeout=60) == 0
