"""A server of the telemetry service that takes messages as the bytes that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from gpuledger_proto.v1 import telemetry_pb2 as wire

SERVICE = wire.DESCRIPTOR.services_by_name["Telemetry"].full_name

Stream = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


class ByteServer:
    """Listens on loopback while entered; `stream` makes answers of messages, for each agent."""

    def __init__(self, stream: Stream) -> None:
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        # Without serializers nothing is read or written anew.
        handler = grpc.stream_stream_rpc_method_handler(stream)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        self._server.stop(grace=0).wait()
