"""Stands between an agent and a collector, and keeps every byte that either says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from gpuledger_proto.v1 import telemetry_pb2 as wire

SERVICE = wire.DESCRIPTOR.services_by_name["Telemetry"].full_name


def as_it_came(message: bytes) -> bytes:
    return message


class Tee:
    """Listens on loopback while entered; `through` is what becomes of the agent's messages."""

    def __init__(self, collector: str, through: Callable[[bytes], bytes] = as_it_came) -> None:
        self.said: list[bytes] = []
        self.answered: list[bytes] = []
        self._through = through
        self._channel = grpc.insecure_channel(collector)
        # Without serializers, messages are the bytes that they are.
        self._stream = self._channel.stream_stream(f"/{SERVICE}/Stream")
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        handler = grpc.stream_stream_rpc_method_handler(self._pass)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _pass(self, messages: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for answer in self._stream(self._heard(messages)):
            self.answered.append(answer)
            yield answer

    def _heard(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for message in messages:
                self.said.append(message)
                yield self._through(message)
        except Exception:  # noqa: BLE001  # grpc raises a bare Exception when the stream has ended
            return

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(grace=0).wait()
        self._channel.close()
