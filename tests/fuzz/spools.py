"""Spool files that a disk, or somebody, has damaged: the agent begins all the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from gpuledger_agent.gaps import GapReason, gaps_of
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.fuzz.bytes_of import mutated
from tests.fuzz.contract import Breach
from tests.wire.release import releases

SEQUENCE_LIMIT = (1 << 63) - 1_000_000
"""Beyond it SQLite has no numbers left, and no damage that is noticed can lead there."""

TOKENS = (b"\0" * 8, b"\xff" * 8, b"batch", b"gap", b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"INTEGER")


class Spools:
    """Files with damage in them; what is written afterwards must be there, or be told as lost."""

    def __init__(self) -> None:
        self._seeds = [release.spool.read_bytes() for release in releases()]

    def execute(self, dice: Random) -> int:
        with tempfile.TemporaryDirectory() as made:
            path = Path(made, "spool.sqlite")
            path.write_bytes(mutated(dice, self._seeds, TOKENS))
            spool = Spool(path)
            spool.begin(1_800_000_000)
            spool.tell_gaps()
            new = wire.Batch(dictionary=["", "new"])
            spool.append([new], 1_800_000_010)
            if not spool.state().on_disk:
                raise Breach("it keeps in memory what the disk would take")
            opened = spool.opened
            spool.after(0, 1_000)
            # Damage that shows only now has the file replaced: what could be saved is read anew.
            replaced = spool.opened > opened
            spool.tell_gaps()
            found = list(spool.after(0, 1_000))
            spool.set_aside(found[0].sequence, "of no use")
            spool.forget([batch.sequence for batch in found])
            left = spool.after(0, 1_000)
            spool.close()
            told = {gap.reason for batch in found for gap in gaps_of(batch)}
            there = any(list(batch.dictionary) == ["", "new"] for batch in found)
            if not there and not (replaced and GapReason.CORRUPT in told):
                raise Breach("what was written into it is not there, and nothing tells of it")
            if left:
                raise Breach("what was forgotten is there")
        return 1
