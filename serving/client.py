"""A client: texts in, labels and probabilities out; over REST or gRPC.

    python -m serving.client --text "the heel broke after a week"

The labels come from the model. REST is the default on the command line, because the stubs of gRPC load
the whole of TensorFlow first; a program that keeps its connection does better with gRPC.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_TIMEOUT_SECONDS = 30.0
_PORTS = {"rest": 8501, "grpc": 8500}

# tensorflow.DataType.DT_STRING: the client must not import TensorFlow for one number.
_DT_STRING = 7


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says of one text."""

    label: str
    """The class with the largest probability."""

    probabilities: dict[str, float]
    """Probability (0 to 1) by class name, in the order of the model."""


class ClientError(Exception):
    """The server could not be reached, or answered with an error; the message says which."""


class Transport(Protocol):
    """One way to reach a server."""

    def text_columns(self) -> list[str]:
        """The inputs of the model's default signature, sorted."""

    def predict(self, columns: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
        """Calls the default signature in column form; outputs by name, as nested lists."""


def classify(texts: Sequence[str | Mapping[str, str]], *, transport: Transport) -> list[Prediction]:
    """Classifies texts.

    Args:
        texts: strings where the model has one text column; else, text by column name.
        transport: a `RestTransport` or a `GrpcTransport`.

    Returns:
        One prediction for each text, in order.

    Raises:
        ClientError: no answer, an error as the answer, or texts that do not have the model's columns.
    """
    if not texts:
        return []
    columns = transport.text_columns()
    rows = [_as_row(text, columns=columns) for text in texts]
    outputs = transport.predict({column: [row[column] for row in rows] for column in columns})
    triples = zip(outputs["label"], outputs["labels"], outputs["probabilities"], strict=True)
    return [Prediction(label, dict(zip(names, values, strict=True))) for label, names, values in triples]


def _as_row(text: str | Mapping[str, str], *, columns: Sequence[str]) -> Mapping[str, str]:
    """Text by column name."""
    if isinstance(text, str) and len(columns) == 1:
        return {columns[0]: text}
    if isinstance(text, str) or sorted(text) != list(columns):
        example = json.dumps(dict.fromkeys(columns, "..."))
        raise ClientError(f"the model takes the columns {', '.join(columns)}; give each text as {example}")
    return text


class RestTransport:
    """Over HTTP, with the standard library alone."""

    def __init__(self, address: str, *, model: str) -> None:
        """Connects to nothing yet.

        Args:
            address: host:port.
            model: name under which it is served.
        """
        self._url = f"http://{address}/v1/models/{model}"

    def text_columns(self) -> list[str]:
        """See `Transport`."""
        metadata = self._call("/metadata", None)["metadata"]
        return sorted(metadata["signature_def"]["signature_def"]["serving_default"]["inputs"])

    def predict(self, columns: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
        """See `Transport`."""
        return dict(self._call(":predict", {"inputs": columns})["outputs"])

    def _call(self, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ClientError(f"{self._url}{path} answered {error.code}: {error.read().decode()}") from error
        except OSError as error:
            raise ClientError(
                f"no server answers at {self._url}: {error}; start one, or give --address"
            ) from error


class GrpcTransport:
    """Over gRPC; keeps its connection."""

    def __init__(self, address: str, *, model: str) -> None:
        """Connects when first used.

        Args:
            address: host:port.
            model: name under which it is served.
        """
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))
        self._model = model

    def text_columns(self) -> list[str]:
        """See `Transport`."""
        from tensorflow_serving.apis import get_model_metadata_pb2 as pb2

        request = pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model
        response = self._call(self._stub.GetModelMetadata, request)
        signatures = pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return sorted(signatures.signature_def["serving_default"].inputs)

    def predict(self, columns: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
        """See `Transport`."""
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        for column, texts in columns.items():
            tensor = request.inputs[column]
            tensor.dtype = _DT_STRING
            tensor.tensor_shape.dim.add(size=len(texts))
            tensor.string_val.extend(text.encode("utf-8") for text in texts)
        outputs = self._call(self._stub.Predict, request).outputs
        num_texts = len(outputs["label"].string_val)
        return {
            "label": [value.decode("utf-8", "replace") for value in outputs["label"].string_val],
            "labels": _rows([v.decode("utf-8", "replace") for v in outputs["labels"].string_val], num_texts),
            "probabilities": _rows(list(outputs["probabilities"].float_val), num_texts),
        }

    def _call(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise ClientError(f"the server answered {error.code().name}: {error.details()}") from error


def _rows(values: list[Any], num_rows: int) -> list[list[Any]]:
    """The flat values of a TensorProto as rows of equal width."""
    width = len(values) // num_rows
    return [values[i * width : (i + 1) * width] for i in range(num_rows)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; prints one JSON object for each text."""
    parser = argparse.ArgumentParser(prog="serving.client", description="Asks a served model for labels.")
    parser.add_argument(
        "--text", action="append", required=True, help='a text, or {"column": "text", ...}; repeatable'
    )
    parser.add_argument("--model", default="shoes", help="name under which the model is served")
    parser.add_argument("--address", default="", help="host:port; default: localhost and the usual port")
    parser.add_argument("--protocol", choices=sorted(_PORTS), default="rest")
    flags = parser.parse_args(arguments)
    address = flags.address or f"localhost:{_PORTS[flags.protocol]}"
    texts = [_parse_text(text) for text in flags.text]
    try:
        predictions = classify(texts, transport=_transport(flags.protocol, address, model=flags.model))
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    for prediction in predictions:
        print(json.dumps(dataclasses.asdict(prediction), ensure_ascii=False))
    return 0


def _transport(protocol: str, address: str, *, model: str) -> Transport:
    if protocol == "grpc":
        return GrpcTransport(address, model=model)
    return RestTransport(address, model=model)


def _parse_text(text: str) -> str | dict[str, str]:
    """A text of several columns comes as a JSON object of strings; anything else is the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and value and all(isinstance(v, str) for v in value.values()):
        return value
    return text


if __name__ == "__main__":
    sys.exit(main())
