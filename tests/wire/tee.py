"""Stands between an agent and a collector, and keeps every byte that either says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc

from tests.wire.byte_server import SERVICE, ByteServer


def as_it_came(message: bytes) -> bytes:
    return message


class Tee(ByteServer):
    """Listens on loopback while entered; `through` is what becomes of the agent's messages."""

    def __init__(self, collector: str, through: Callable[[bytes], bytes] = as_it_came) -> None:
        self.said: list[bytes] = []
        self.answered: list[bytes] = []
        self._through = through
        self._channel = grpc.insecure_channel(collector)
        self._stream = self._channel.stream_stream(f"/{SERVICE}/Stream")
        super().__init__(self._pass)

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

    def close(self) -> None:
        super().close()
        self._channel.close()
