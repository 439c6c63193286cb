"""What the ways to reach a server have in common: the target, encryption, and what they say when something is wrong."""

from __future__ import annotations

import dataclasses
import random
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        """Calls the signature; outputs by name as nested lists, and `version` where the server tells it.

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
        ClientError: some are missing; the model is no text classifier.
    """
    missing = [name for name in _OUTPUTS if not isinstance(outputs, Mapping) or name not in outputs]
    if missing:
        raise ClientError(
            f"signature {target.signature_name} of the model {target.model} does not answer with "
            f"{', '.join(missing)}; this client knows text classifiers only"
        )
    return {name: outputs[name] for name in _OUTPUTS}


def no_server(url: str, reason: object) -> RetryableError:
    """Nobody is there, or the connection was lost."""
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
