"""How the client reaches a server: what transports have in common, and REST, with the standard library alone."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import ssl
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serving.client_retries import ClientError, RetryableError

_TOO_MANY, _UNAVAILABLE = 429, 503
_OUTPUTS = ("label", "labels", "probabilities")


@dataclasses.dataclass(frozen=True)
class Tls:
    """Encryption; without arguments, the certificate authorities of this machine count."""

    ca_file: str = ""
    """PEM file of the authorities that count instead."""

    certificate_file: str = ""
    """PEM file with the client's certificate, where the server asks for one."""

    key_file: str = ""
    """PEM file with its key."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Which server, model, version and signature."""

    address: str
    """host:port."""

    model: str
    version: int | None = None
    """None: the latest."""

    version_label: str = ""
    signature_name: str = "serving_default"
    tls: Tls | None = None
    """None: no encryption."""


class Transport(Protocol):
    """One way to reach a server; threads may share it."""

    def text_columns(self, *, timeout_seconds: float) -> list[str]:
        """The inputs of the model's signature, sorted."""

    def predict(self, columns: Mapping[str, Sequence[str]], *, timeout_seconds: float) -> dict[str, Any]:
        """Calls the signature; outputs by name as nested lists, and `version` where the server tells it."""

    def close(self) -> None:
        """Closes its connections."""


class RestTransport:
    """Over HTTP; a kept connection for each thread."""

    def __init__(self, target: Target) -> None:
        """Connects to nothing yet."""
        self._target = target
        name = urllib.parse.quote(target.model, safe="")
        self._path = f"/v1/models/{name}"
        if target.version is not None:
            self._path += f"/versions/{target.version}"
        elif target.version_label:
            self._path += f"/labels/{urllib.parse.quote(target.version_label, safe='')}"
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def text_columns(self, *, timeout_seconds: float) -> list[str]:
        """See `Transport`."""
        answer = self._call("GET", "/metadata", None, timeout_seconds=timeout_seconds)
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        return signature_inputs(signatures, self._target, inputs=lambda signature: signature["inputs"])

    def predict(self, columns: Mapping[str, Sequence[str]], *, timeout_seconds: float) -> dict[str, Any]:
        """See `Transport`."""
        body = {"signature_name": self._target.signature_name, "inputs": columns}
        outputs = self._call("POST", ":predict", body, timeout_seconds=timeout_seconds)["outputs"]
        return needed_outputs(outputs, self._target) | {"version": self._target.version}

    def close(self) -> None:
        """See `Transport`."""
        while self._connections:
            self._connections.pop().close()

    def _call(self, method: str, path: str, body: Any, *, timeout_seconds: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"{self._target.address}{self._path}{path}"
        connection = self._connection(timeout_seconds)
        try:
            connection.request(method, self._path + path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except ssl.SSLError as error:
            raise ClientError(f"{url}: no encrypted connection: {error}; check the TLS settings") from error
        except TimeoutError as error:
            connection.close()
            raise ClientError(f"{url} gave no answer in time; give it longer, or ask less at once") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise RetryableError(
                f"no server answers at {url}: {error or type(error).__name__}; start one, or give another address"
            ) from error
        if response.status == http.HTTPStatus.OK:
            return json.loads(text)
        message = f"{url} answered {response.status}: {text}"
        if response.status in (_TOO_MANY, _UNAVAILABLE):
            raise RetryableError(message, after_seconds=_seconds(response.headers.get("Retry-After")))
        raise ClientError(message)

    def _connection(self, timeout_seconds: float) -> http.client.HTTPConnection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            tls = self._target.tls
            connection = (
                http.client.HTTPSConnection(self._target.address, context=_ssl_context(tls))
                if tls
                else http.client.HTTPConnection(self._target.address)
            )
            self._local.connection = connection
            self._connections.append(connection)
        connection.timeout = timeout_seconds
        if connection.sock:
            connection.sock.settimeout(timeout_seconds)
        return connection


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.certificate_file:
            context.load_cert_chain(tls.certificate_file, tls.key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ClientError(f"the TLS files cannot be used: {error}; give PEM files ({tls})") from error
    return context


def signature_inputs(signatures: Mapping[str, Any], target: Target, *, inputs: Any) -> list[str]:
    """The inputs of the target's signature, sorted.

    Args:
        signatures: by name.
        target: names one of them.
        inputs: takes a signature, gives its inputs by name.

    Raises:
        ClientError: there is none of this name.
    """
    if target.signature_name not in signatures:
        names = ", ".join(sorted(signatures))
        raise ClientError(
            f"the model {target.model} has no signature {target.signature_name}; it has: {names}"
        )
    return sorted(inputs(signatures[target.signature_name]))


def needed_outputs(outputs: Any, target: Target) -> dict[str, Any]:
    """The outputs that a prediction is made of, out of all.

    Raises:
        ClientError: some are missing; the model is no text classifier.
    """
    missing = [name for name in _OUTPUTS if not isinstance(outputs, Mapping) or name not in outputs]
    if missing:
        raise ClientError(
            f"signature {target.signature_name} of the model {target.model} does not answer with "
            f"{', '.join(missing)}; this client knows text classifiers only"
        )
    return {name: outputs[name] for name in _OUTPUTS}


def _seconds(header: str | None) -> float:
    """`Retry-After` in seconds; its other form, a date, counts as none."""
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, float(header))  # type: ignore[arg-type]  # None is a TypeError, as it should
    return 0.0
