"""Requests over REST, for the tests that speak it: raw bytes in, status, headers and body out."""

from __future__ import annotations

import dataclasses
import http.client
import json
from collections.abc import Mapping
from typing import Any

HI = {"instances": ["hi"]}
OK_STATUS = {"error_code": "OK", "error_message": ""}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message, of a body that holds nothing else."""
        assert list(self.json) == ["error"], self.body
        return str(self.json["error"])


@dataclasses.dataclass(frozen=True)
class Rest:
    """Asks one address, each time over a connection of its own."""

    address: str

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A body of bytes or str is sent as it is, another as JSON."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        try:
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, body: Any, path: str = "/v1/models/toy:predict") -> Answer:
        return self.call("POST", path, body)

    def predict(self, signature: str, *, instances: Any = None, inputs: Any = None) -> Answer:
        """Rows or columns; `instances` and `inputs` are JSON already where they are str."""
        key, value = ("inputs", inputs) if instances is None else ("instances", instances)
        text = value if isinstance(value, str) else json.dumps(value)
        return self.post(f'{{"signature_name": "{signature}", "{key}": {text}}}')


def available(version: str) -> dict[str, object]:
    """The status of a version that is served."""
    return {"version": version, "state": "AVAILABLE", "status": OK_STATUS}
