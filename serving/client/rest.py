"""How the client reaches a server over REST, with the standard library alone."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.client.transports import (
    REQUEST_ID,
    ClientError,
    RetryableError,
    Target,
    needed_outputs,
    no_encryption,
    no_server,
    refused,
    signature_inputs,
    ssl_context,
    too_slow,
)

_NOT_FOUND, _TOO_MANY, _UNAVAILABLE = 404, 429, 503
_HEADERS = {"Content-Type": "application/json"}

# Method, path, body, headers.
Request = tuple[str, str, bytes | None, dict[str, str]]


class RestTransport:
    """Over HTTP; as many kept connections as there were calls at the same time."""

    def __init__(self, target: Target) -> None:
        """Connects to nothing yet.

        Raises:
            ClientError: TLS files that cannot be used.
        """
        self._target = target
        self._ssl_context = ssl_context(target.tls) if target.tls else None
        self._path = f"/v1/models/{urllib.parse.quote(target.model, safe='')}"
        if target.version is not None:
            self._path += f"/versions/{target.version}"
        elif target.version_label:
            self._path += f"/labels/{urllib.parse.quote(target.version_label, safe='')}"
        # A deque's append and pop are whole, whichever threads call them; the last one used is the least likely to
        # have been closed by the server.
        self._idle: collections.deque[http.client.HTTPConnection] = collections.deque()

    def text_columns(self, *, timeout_seconds: float) -> list[str]:
        """See `Transport`."""
        answer = self._call("GET", "/metadata", None, timeout_seconds=timeout_seconds)
        with self._model_server_speaks():
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            inputs = {name: list(signature["inputs"]) for name, signature in signatures.items()}
        return signature_inputs(inputs, self._target)

    def predict(
        self, columns: Mapping[str, Sequence[str]], *, request_id: str = "", timeout_seconds: float
    ) -> dict[str, Any]:
        """See `Transport`."""
        body = {"signature_name": self._target.signature_name, "inputs": columns}
        answer = self._call("POST", ":predict", body, timeout_seconds=timeout_seconds, request_id=request_id)
        with self._model_server_speaks():
            outputs = answer["outputs"]
        return needed_outputs(outputs, self._target) | {"version": self._target.version}

    def close(self) -> None:
        """See `Transport`."""
        while self._idle:
            self._idle.pop().close()

    def _call(
        self, method: str, path: str, body: Any, *, timeout_seconds: float, request_id: str = ""
    ) -> Any:
        """The answer to one request, parsed."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self._target.address}{self._path}{path}"
        try:
            headers = _HEADERS | ({REQUEST_ID: request_id} if request_id else {})
            request = (method, self._path + path, data, headers)
            response, text = self._exchange(request, timeout_seconds=timeout_seconds)
        except ssl.SSLError as error:
            raise no_encryption(url, error) from error
        except TimeoutError as error:
            raise too_slow(url) from error
        except (OSError, http.client.HTTPException) as error:
            raise no_server(url, error or type(error).__name__) from error
        if response.status == http.HTTPStatus.OK:
            with self._model_server_speaks():
                return json.loads(text)
        message = refused(url, response.status, text, not_found=response.status == _NOT_FOUND)
        if response.status in (_TOO_MANY, _UNAVAILABLE):
            raise RetryableError(message, after_seconds=_seconds(response.headers.get("Retry-After")))
        raise ClientError(message)

    def _exchange(self, request: Request, *, timeout_seconds: float) -> tuple[http.client.HTTPResponse, str]:
        """Asks over a kept connection; over a new one if there is none, or if the server has closed it."""
        deadline = time.monotonic() + timeout_seconds
        with contextlib.suppress(IndexError, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return self._ask(self._idle.pop(), request, deadline=deadline)
        address = self._target.address
        connection = (
            http.client.HTTPSConnection(address, context=self._ssl_context)
            if self._ssl_context
            else http.client.HTTPConnection(address)
        )
        return self._ask(connection, request, deadline=deadline)

    def _ask(
        self, connection: http.client.HTTPConnection, request: Request, *, deadline: float
    ) -> tuple[http.client.HTTPResponse, str]:
        connection.timeout = max(0.001, deadline - time.monotonic())
        if connection.sock:
            connection.sock.settimeout(connection.timeout)
        try:
            connection.request(*request)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except BaseException:
            connection.close()  # whatever comes over it next would belong to this request
            raise
        self._idle.append(connection)
        return response, text

    @contextlib.contextmanager
    def _model_server_speaks(self) -> Iterator[None]:
        """Reading an answer of another form than the API's is an error that says so."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{self._target.address} gives no answer of TensorFlow Serving's API; is another server there?"
            raise ClientError(message) from error


def _seconds(header: str | None) -> float:
    """`Retry-After` in seconds; its other form, a date, counts as none."""
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, float(header))  # type: ignore[arg-type]  # None is a TypeError, as it should
    return 0.0
