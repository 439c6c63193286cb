"""The one error a request can end with, and how each protocol shows it."""

from __future__ import annotations

import grpc
import tensorflow as tf

# TF Serving cuts messages, because gRPC sends them in headers.
_MAX_MESSAGE_CHARS = 1024

_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_CODE_OF_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: grpc.StatusCode, message: str, *, reason: str = "") -> None:
        """Makes the error.

        Args:
            code: canonical code; REST translates it with `http_status`.
            message: TF Serving's words where it has some; `message` is cut as TF Serving cuts it for gRPC,
                and `whole_message` is not.
            reason: what the log says beyond the message; nothing of what a client sent.
        """
        super().__init__(message)
        self.code = code
        self.whole_message = message
        self.reason = reason
        cut = len(message) > _MAX_MESSAGE_CHARS
        self.message = message[:_MAX_MESSAGE_CHARS] + "...TRUNCATED" if cut else message

    @property
    def http_status(self) -> int:
        """The HTTP status of the code."""
        return _HTTP_STATUS[self.code]


def invalid_argument(message: str, *, reason: str = "") -> ServingError:
    """The client sent what cannot be served."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message, reason=reason)


def failed_precondition(message: str) -> ServingError:
    """The model is not made for what the client asks."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> ServingError:
    """The client asks for something that there is not."""
    return ServingError(grpc.StatusCode.UNIMPLEMENTED, message)


def not_found(message: str) -> ServingError:
    """The client asked for what is not there."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """The error with which a graph ended; TensorFlow and gRPC number their codes alike."""
    return ServingError(_CODE_OF_NUMBER.get(error.error_code, grpc.StatusCode.UNKNOWN), error.message)
