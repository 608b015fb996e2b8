"""A collector of a release, as far as its recording goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from tests.wire.byte_server import ByteServer
from tests.wire.release import Release
from tests.wire.schema import classes


class ReplayedCollector(ByteServer):
    """Reads what an agent says by the schema of its release, and answers the recorded bytes.

    Each answer is said once the batches that it answers were heard.
    """

    def __init__(self, release: Release) -> None:
        self.heard: list[Any] = []
        self._wire = classes(release.schema)
        self._answers = release.answered
        super().__init__(self._stream)

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
