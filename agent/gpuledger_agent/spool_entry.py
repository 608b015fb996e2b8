"""A batch as the spool keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from zlib import crc32

from gpuledger_agent.encode import row_count, span
from gpuledger_agent.gaps import GapReason, noted
from gpuledger_proto.v1 import telemetry_pb2 as wire


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch: its windows lie between `first` and `last` (seconds since the epoch).

    `crc` is the CRC-32 of its body: SQLite does not notice a damaged value.
    """

    sequence: int
    first: int
    last: int
    rows: int
    crc: int
    body: bytes

    @classmethod
    def of(cls, sequence: int, batch: wire.Batch, until: int) -> Self:
        """The entry of this batch; one without rows is of the time `until`."""
        first, last = span(batch) or (until, until)
        body = batch.SerializeToString()
        return cls(sequence, first, last, row_count(batch), crc32(body), body)

    @classmethod
    def read(cls, row: Sequence[object]) -> Self | None:
        """The entry that a row of a file is; None if it cannot be one."""
        match row:
            case int(sequence), int(first), int(last), int(rows), int(crc), bytes(body):
                # What is given up is told as a gap from `first` to `last`.
                if noted(first, last, rows, GapReason.CORRUPT) is not None:
                    return cls(sequence, first, last, rows, crc, body)
        return None

    def batch(self) -> wire.Batch:
        """What it holds, numbered."""
        batch = wire.Batch.FromString(self.body)
        batch.sequence = self.sequence
        return batch

    @property
    def sound(self) -> bool:
        """Whether the body is as it was."""
        return crc32(self.body) == self.crc
