"""When a call is tried again, and until when."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from typing import TypeVar

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
