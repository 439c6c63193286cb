"""gRPC with ready-made bytes: no protocol buffer is built or read in the process that makes the load."""

from __future__ import annotations

import itertools

import grpc.aio

# Connections; gRPC sends many requests at a time over each, as its users' programs do.
_MAX_CHANNELS = 8
# Else channels to the same address share one connection.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


class GrpcClient:
    """Calls one unary method."""

    def __init__(self, address: str, path: str, *, connections: int, timeout_seconds: float) -> None:
        self._channels = [
            grpc.aio.insecure_channel(address, options=_OPTIONS)
            for _ in range(min(connections, _MAX_CHANNELS))
        ]
        # Without functions that (de)serialize, bytes go in and come out.
        self._methods = itertools.cycle([channel.unary_unary(path) for channel in self._channels])
        self._timeout = timeout_seconds

    async def send(self, body: bytes) -> str:
        """Returns the name of the code."""
        try:
            await next(self._methods)(body, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()
