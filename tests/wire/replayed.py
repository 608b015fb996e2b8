"""A collector of a release, as far as its recording goes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

from tests.wire.release import Release
from tests.wire.schema import classes
from tests.wire.tee import SERVICE


class ReplayedCollector:
    """Reads what an agent says by the schema of its release, and answers the recorded bytes.

    Each answer is said once the batches that it answers were heard.
    """

    def __init__(self, release: Release) -> None:
        self.heard: list[Any] = []
        self._wire = classes(release.schema)
        self._answers = release.answered
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _stream(self, messages: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        sequences = set()
        for body in messages:
            message = self._wire.agent.FromString(body)
            self.heard.append(message)
            sequences.add(message.batch.sequence)
            while self._answers and self._concerned(self._answers[0]) <= sequences:
                yield self._answers.pop(0)

    def _concerned(self, answer: bytes) -> set[int]:
        said = self._wire.collector.FromString(answer)
        return {*said.ack.sequences, said.refusal.sequence} - {0}

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
