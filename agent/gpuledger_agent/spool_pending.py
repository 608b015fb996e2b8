"""What the next write to the spool's file will do."""

from __future__ import annotations

from collections import OrderedDict

from gpuledger_agent.spool_entry import Entry


class Pending:
    """Batches that are in memory only, and others that are to be deleted from the file.

    `forgotten` were acknowledged, `dropped` given up. Used by one thread at a time.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self.forgotten: set[int] = set()
        self.dropped: set[int] = set()
        self.bytes = 0
        """Size of the batches in memory."""

    def __len__(self) -> int:
        """How many batches there are in memory."""
        return len(self._entries)

    def __contains__(self, sequence: int) -> bool:
        """Whether this batch is in memory."""
        return sequence in self._entries

    def add(self, entry: Entry) -> None:
        """Keep this batch, the newest."""
        self._entries[entry.sequence] = entry
        self.bytes += len(entry.body)

    def pop(self, sequence: int) -> Entry | None:
        """Take this batch out; None if it is not in memory."""
        entry = self._entries.pop(sequence, None)
        if entry is not None:
            self.bytes -= len(entry.body)
        return entry

    def after(self, sequence: int) -> list[Entry]:
        """Batches that follow this sequence, oldest first."""
        return [entry for entry in self._entries.values() if entry.sequence > sequence]

    def deletes(self, sequence: int) -> bool:
        """Whether this batch of the file is to go."""
        return sequence in self.forgotten or sequence in self.dropped

    def done(self) -> None:
        """All of it was written."""
        self._entries.clear()
        self.bytes = 0
        self.forgotten.clear()
        self.dropped.clear()
