"""A Batch of the wire under construction: its strings, its layouts, its limits."""

from __future__ import annotations

from gpuledger_agent.records import Owner
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_ROWS = 5_000
"""Rows per batch; far under what a collector accepts, so that a batch stays a small message."""

MAX_DICTIONARY = 4_000
"""Strings per batch; a collector accepts 4,096."""

MAX_STRING_BYTES = 256
"""Bytes of one string on the wire; longer ones are cut at a character."""

DAY_S = 86_400

MAX_LAYOUTS = 250
"""Layouts of histograms per batch; a collector accepts 256."""

MAX_COUNTS = 200_000
"""Counts of histograms per batch; a collector accepts 250,000."""

_STRINGS_PER_ROW = 12

OwnerColumns = wire.ProcessUsage | wire.GpuAllocation | wire.EndpointTraffic


class BatchBuilder:
    """One batch under construction."""

    def __init__(self) -> None:
        self.batch = wire.Batch(dictionary=[""])
        self.rows = 0
        self.day: int | None = None
        self._index = {"": 0}
        self._layouts: dict[tuple[int, ...], int] = {(): 0}
        self._counts = 0

    def text(self, value: str) -> int:
        """Index of a string in the batch's dictionary."""
        index = self._index.get(value)
        if index is None:
            index = self._index[value] = len(self._index)
            self.batch.dictionary.append(_fit(value))
        return index

    def layout(self, upto_us: tuple[int, ...]) -> int:
        """Index of the buckets of a histogram in the batch's layouts; 0 without any."""
        if not self.batch.layouts:
            self.batch.layouts.add()
        index = self._layouts.get(upto_us)
        if index is None:
            index = self._layouts[upto_us] = len(self._layouts)
            self.batch.layouts.add(upto_us=upto_us)
        return index

    def takes(self, start: int, rows: int, counts: int = 0) -> bool:
        """Whether so many more rows of a window fit in, with so many counts of histograms."""
        return self.rows == 0 or (
            self.day == start // DAY_S
            and self.rows + rows <= MAX_ROWS
            and len(self._index) + rows * _STRINGS_PER_ROW <= MAX_DICTIONARY
            and len(self._layouts) + 2 * rows <= MAX_LAYOUTS
            and self._counts + counts <= MAX_COUNTS
        )

    def count(self, start: int, counts: int = 0) -> None:
        """A row of a window comes, with so many counts of histograms."""
        self.day = start // DAY_S
        self.rows += 1
        self._counts += counts

    def owner(self, columns: OwnerColumns, owner: Owner, kind: str, workload: str) -> None:
        """Add an owner and a workload to the columns of a table."""
        columns.team.append(self.text(owner.team))
        columns.model.append(self.text(owner.model))
        columns.endpoint.append(self.text(owner.endpoint))
        columns.use_case.append(self.text(owner.use_case))
        columns.pool.append(self.text(owner.pool))
        columns.workload_kind.append(self.text(kind))
        columns.workload.append(self.text(workload))
        columns.owner_source.append(self.text(owner.source))


def _fit(value: str) -> str:
    # A NUL would cost the whole batch.
    encoded = value.replace("\0", "\ufffd").encode("utf-8", "replace")
    return encoded[:MAX_STRING_BYTES].decode("utf-8", "ignore")
