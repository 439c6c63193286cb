"""How the client reaches a server: what REST and gRPC have in common, and REST with the standard library alone.

An HTTP library would save 30 lines here, and costs: a call over a kept connection takes 0.25 ms of processor time by
`http.client`, 0.55 by urllib3 and 1.1 by httpx.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import json
import random
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class ClientError(Exception):
    """The server could not be reached, or answered with an error; the message says which, and what to do."""


class RetryableError(ClientError):
    """The server was not there, was full, or was stopping: the same call may succeed in a moment."""

    def __init__(self, message: str, *, after_seconds: float = 0.0) -> None:
        """Makes the error.

        Args:
            message: for the caller, if it stays the last word.
            after_seconds: what the server asked to wait (`Retry-After`).
        """
        super().__init__(message)
        self.after_seconds = after_seconds


@dataclasses.dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    most: int = 4
    """Tries after the first; 0: none."""

    first_seconds: float = 0.1
    """Longest wait before the first of them; it doubles with each."""

    longest_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Checks them.

        Raises:
            ClientError: a negative one.
        """
        for name, value in vars(self).items():
            if not value >= 0:
                raise ClientError(f"retries: {name} is {value}; give 0 or more")

    def call(self, function: Callable[[float], Result], *, timeout_seconds: float) -> Result:
        """Calls a function until it succeeds, fails for good, or the time is over.

        Args:
            function: takes the seconds that are left.
            timeout_seconds: for all tries and waits together.

        Raises:
            ClientError: the last one.
        """
        deadline = time.monotonic() + timeout_seconds
        for number in range(self.most + 1):
            try:
                return function(max(0.001, deadline - time.monotonic()))
            except RetryableError as error:
                wait = self.wait_seconds(number, error)
                tried = f"tried {number + 1} times" if number else "tried once"
                if number == self.most:
                    raise ClientError(f"{error} ({tried})") from error
                if time.monotonic() + wait >= deadline:
                    raise ClientError(
                        f"{error} ({tried}; no time for another in {timeout_seconds:g} s)"
                    ) from error
            time.sleep(wait)
        raise AssertionError("the loop returns or raises")

    def wait_seconds(self, number: int, error: RetryableError) -> float:
        """The wait after failure `number` (from 0): random, and never less than the server asked for."""
        most = min(self.longest_seconds, self.first_seconds * 2**number)
        return max(error.after_seconds, random.uniform(0, most))


_OUTPUTS = ("label", "labels", "probabilities")
# Header of REST, key of gRPC's metadata: the id under which the server logs a call.
REQUEST_ID = "x-request-id"


@dataclasses.dataclass(frozen=True)
class Tls:
    """Encryption; without arguments, the certificate authorities of this machine count."""

    ca_file: str = ""
    """PEM file of the authorities that count instead."""

    certificate_file: str = ""
    """PEM file with the client's certificate, where the server asks for one."""

    key_file: str = ""
    """PEM file with its key; "": it is in the file of the certificate."""


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

    def predict(
        self, columns: Mapping[str, Sequence[str]], *, request_id: str, timeout_seconds: float
    ) -> dict[str, Any]:
        """Calls the signature; outputs by name as nested lists, and `version` where the server says it.

        Args:
            columns: texts by name.
            request_id: for the server's log; "" lets the server make one.
            timeout_seconds: for the answer.
        """

    def close(self) -> None:
        """Closes its connections."""


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """What the standard library encrypts by.

    Raises:
        ClientError: files that cannot be used.
    """
    if tls.key_file and not tls.certificate_file:
        raise ClientError(f"there is a key, {tls.key_file}, and no certificate; give its file as well")
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.certificate_file:
            context.load_cert_chain(tls.certificate_file, tls.key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ClientError(f"the TLS files cannot be used: {error}; give PEM files ({tls})") from error
    return context


def system_authorities(context: ssl.SSLContext) -> bytes | None:
    """The authorities that a context has loaded, as PEM; None where it has none."""
    certificates = context.get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(each) for each in certificates).encode() or None


def signature_inputs(inputs: Mapping[str, Iterable[str]], target: Target) -> list[str]:
    """The inputs of the target's signature, sorted.

    Args:
        inputs: names of the inputs by signature.
        target: names a signature.

    Raises:
        ClientError: there is none of this name.
    """
    if target.signature_name not in inputs:
        names = ", ".join(sorted(inputs))
        raise ClientError(
            f"the model {target.model} has no signature {target.signature_name}; it has: {names}"
        )
    return sorted(inputs[target.signature_name])


def needed_outputs(outputs: Any, target: Target) -> dict[str, Any]:
    """The outputs that a prediction is made of, out of all.

    Raises:
        ClientError: some are missing; the model is not a text classifier.
    """
    missing = [name for name in _OUTPUTS if not isinstance(outputs, Mapping) or name not in outputs]
    if missing:
        raise ClientError(
            f"signature {target.signature_name} of the model {target.model} does not answer with "
            f"{', '.join(missing)}; this client knows text classifiers only"
        )
    return {name: outputs[name] for name in _OUTPUTS}


def no_server(url: str, reason: object) -> RetryableError:
    """No server is there, or the connection was lost."""
    return RetryableError(
        f"no server answers at {url}: {reason}; start one (make serve), or give another address"
    )


def no_encryption(url: str, reason: object) -> ClientError:
    """One side does not trust the other, or does not encrypt."""
    return ClientError(f"{url}: no encrypted connection: {reason}; check the TLS settings")


def too_slow(url: str) -> ClientError:
    """The deadline passed while the server was at it."""
    return ClientError(f"{url} gave no answer in time; give it longer, or ask less at once")


def refused(url: str, status: object, message: str, *, not_found: bool) -> str:
    """The server's own words."""
    hint = "; the server's log names the models and versions that it serves" if not_found else ""
    return f"{url} answered {status}: {message}{hint}"


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
