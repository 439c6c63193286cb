"""The client: texts in, labels and probabilities out, over REST or gRPC; `python -m serving.client --text "..."`."""

from serving.client.client import PORTS, Client, Prediction, Text
from serving.client.transport import ClientError, Retries, RetryableError, Tls

__all__ = ["PORTS", "Client", "ClientError", "Prediction", "Retries", "RetryableError", "Text", "Tls"]
