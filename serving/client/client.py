"""A client: texts in, labels and probabilities out; over REST or gRPC.

    with Client("localhost:8501", model="shoes") as client:
        for prediction in client.classify(["the heel broke after a week", "so comfortable!"]):
            print(prediction.label, prediction.probabilities)

or `python -m serving.client --text "the heel broke after a week"`. The labels come from the model. REST needs Python
alone, gRPC needs grpcio and protobuf; neither needs TensorFlow.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

from serving.client.transport import (
    ClientError,
    RestTransport,
    Retries,
    Target,
    Tls,
    Transport,
)

PORTS = {"rest": 8501, "grpc": 8500}

# The server reads several ids of a call with commas between.
_ID = re.compile(r"[!-+\--~]{1,100}")

Text = str | Mapping[str, str]
"""A string where the model has one text column; else, text by column name."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says of one text."""

    label: str
    """The class with the largest probability."""

    probabilities: dict[str, float]
    """Probability (0 to 1) by class name, in the order of the model."""

    version: int | None = None
    """Of the model that answered; None where the server does not say it (REST)."""


class Client:
    """Asks one model; threads may share it."""

    def __init__(
        self,
        address: str = "",
        *,
        model: str,
        protocol: str = "rest",
        version: int | None = None,
        version_label: str = "",
        signature_name: str = "serving_default",
        tls: Tls | None = None,
        timeout_seconds: float = 30.0,
        retries: Retries | None = None,
        batch_size: int = 32,
        num_connections: int = 4,
    ) -> None:
        """Connects when first used.

        Args:
            address: host:port; "" is this machine and the usual port.
            model: name under which it is served.
            protocol: rest or grpc.
            version: None is the latest.
            version_label: instead of a version.
            signature_name: whose inputs are texts and whose outputs are label, labels and probabilities.
            tls: None is no encryption.
            timeout_seconds: for each call with all its retries; over gRPC the server knows it, too.
            retries: of calls that may succeed in a moment.
            batch_size: texts in one call.
            num_connections: calls at the same time.

        Raises:
            ClientError: one of them cannot be used.
        """
        if protocol not in PORTS:
            raise ClientError(f"protocol is {protocol!r}; give one of {', '.join(PORTS)}")
        if version is not None and version_label:
            raise ClientError("both a version and a version label are given; give one of them")
        _check_positive(
            timeout_seconds=timeout_seconds, batch_size=batch_size, num_connections=num_connections
        )
        address = _checked(address or f"localhost:{PORTS[protocol]}")
        target = Target(address, model, version, version_label, signature_name, tls)
        self._transport = _transport(protocol, target)
        self._timeout_seconds = timeout_seconds
        self._retries = retries or Retries()
        self._batch_size = batch_size
        self._num_connections = num_connections
        self._pool = futures.ThreadPoolExecutor(num_connections, "client")
        self._columns: list[str] = []

    def __enter__(self) -> Client:
        """Itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Ends when the calls under way have ended; closes the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._transport.close()

    @property
    def columns(self) -> list[str]:
        """The model's text columns, sorted; asked once.

        Raises:
            ClientError: no answer, or an error as the answer.
        """
        if not self._columns:
            self._columns = self._retries.call(
                lambda seconds: self._transport.text_columns(timeout_seconds=seconds),
                timeout_seconds=self._timeout_seconds,
            )
        return self._columns

    def classify(self, texts: Text | Sequence[Text]) -> list[Prediction]:
        """Classifies one text or many.

        Returns:
            One prediction for each text, in order.

        Raises:
            ClientError: no answer, an error as the answer, or texts that do not have the model's columns.
        """
        return list(self.stream([texts] if isinstance(texts, (str, Mapping)) else texts))

    def stream(self, texts: Iterable[Text], *, ids: Iterable[str] | None = None) -> Iterator[Prediction]:
        """Classifies texts as they come: a few batches are under way at a time, and no more are held.

        Args:
            texts: to classify.
            ids: one for each text, under which the server logs it; None: the server makes some.

        Yields:
            One prediction for each text, in order.

        Raises:
            ClientError: as `classify`.
        """
        named = zip(texts, ids, strict=True) if ids is not None else ((text, "") for text in texts)
        waiting: collections.deque[futures.Future[list[Prediction]]] = collections.deque()
        try:
            while True:
                while len(waiting) < self._num_connections + 1:
                    batch = list(itertools.islice(named, self._batch_size))
                    if not batch:
                        break
                    rows, names = [self._row(text) for text, _ in batch], [name for _, name in batch]
                    request_id = _request_id(names) if ids is not None else ""
                    waiting.append(self._pool.submit(self._ask, rows, request_id))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:  # after an error, or when the caller stops reading
                future.cancel()

    def _row(self, text: Text) -> Mapping[str, str]:
        """Text by column name."""
        if isinstance(text, str) and len(self.columns) == 1:
            return {self.columns[0]: text}
        if isinstance(text, str) or sorted(text) != self.columns:
            example = json.dumps(dict.fromkeys(self.columns, "..."))
            raise ClientError(
                f"the model takes the columns {', '.join(self.columns)}; give each text as {example}"
            )
        return text

    def _ask(self, rows: Sequence[Mapping[str, str]], request_id: str) -> list[Prediction]:
        columns = {column: [row[column] for row in rows] for column in self.columns}
        outputs: dict[str, Any] = self._retries.call(
            lambda seconds: self._transport.predict(columns, request_id=request_id, timeout_seconds=seconds),
            timeout_seconds=self._timeout_seconds,
        )
        return _predictions(outputs)


def _request_id(names: Sequence[str]) -> str:
    """The ids of a call's rows as the id of the call.

    Raises:
        ClientError: a row without an id, or an id that a header cannot hold.
    """
    for name in names:
        if not name:
            raise ClientError(
                "a row has no id; give each row one, or none at all: the server then makes them"
            )
        if not _ID.fullmatch(name):
            raise ClientError(
                f"the id {name!r} is not printable ASCII without commas and spaces, at most 100 characters"
            )
    return ",".join(names)


def _transport(protocol: str, target: Target) -> Transport:
    if protocol == "rest":
        return RestTransport(target)
    from serving.client.grpc import GrpcTransport  # here, for REST has to work without grpcio

    return GrpcTransport(target)


def _predictions(outputs: Mapping[str, Any]) -> list[Prediction]:
    """One for each row of the outputs label, labels and probabilities."""
    version = outputs["version"]
    try:
        return [
            Prediction(label, dict(zip(labels, probabilities, strict=True)), version)
            for label, labels, probabilities in zip(
                outputs["label"], outputs["labels"], outputs["probabilities"], strict=True
            )
        ]
    except (TypeError, ValueError) as error:
        raise ClientError(
            "label, labels and probabilities of the answer do not fit together; this client knows models whose outputs "
            "are label [batch], labels [batch, num_classes] and probabilities [batch, num_classes]"
        ) from error


def _checked(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit()):
        raise ClientError(f"address is {address!r}; give host:port, like localhost:8501")
    return address


def _check_positive(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise ClientError(f"{name} is {value}; give more than 0")
