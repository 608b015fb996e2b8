"""A damaged spool that is being replaced when the agent is killed: nothing is lost untold."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gpuledger_agent.gaps import Gap, GapReason
from gpuledger_agent.spool import Spool
from tests.test_spool_faults import DAY, fill, told, waiting

OPENS_UNTIL_KILLED = """
import os, signal, sys
from pathlib import Path
from gpuledger_agent.spool import Spool

path, left = Path(sys.argv[1]), int(sys.argv[2])

def count(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "sqlite3.connect") and left >= 0:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
spool = Spool(path)
spool.after(0, 1000)
"""
"""The process dies before it renames, removes or opens one more file than it may."""


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool of 303 batches, three of them in its log only, and a gap; killed, then harmed."""
    folder = tmp_path_factory.mktemp("damaged")
    whole = tmp_path_factory.mktemp("whole") / "spool.sqlite"
    spool = Spool(whole)
    fill(spool, 300)
    spool.set_aside(1, "no")
    with sqlite3.connect(whole) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    fill(spool, 3, since=DAY + 3000)
    for end in ("", "-wal"):
        shutil.copy(whole.with_name(whole.name + end), folder)
    spool.close()
    with (folder / "spool.sqlite").open("r+b") as file:
        file.seek(file.seek(0, 2) // 2)
        file.write(bytes(8192))
    return folder


def test_agent_when_killed_anywhere_while_it_replaces_a_damaged_spool_then_nothing_is_lost_untold(
    damaged: Path, tmp_path: Path
) -> None:
    expected = _opened(shutil.copytree(damaged, tmp_path / "untouched"))
    assert 200 < len(expected[0]) < 300
    assert expected[0][-3:] == [301, 302, 303]
    assert expected[1] == [
        Gap(DAY + 3030, DAY + 3030, 0, GapReason.CORRUPT),
        Gap(DAY, DAY + 10, 2, GapReason.REFUSED),
    ]
    steps = 0
    while True:
        folder = shutil.copytree(damaged, tmp_path / str(steps))
        died = subprocess.run(
            [sys.executable, "-c", OPENS_UNTIL_KILLED, folder / "spool.sqlite", str(steps)],
            check=False,
        ).returncode
        assert _opened(folder) == expected, f"killed at step {steps}"
        if died == 0:
            break
        assert died == -signal.SIGKILL
        steps += 1
    assert steps > 10


def _opened(folder: Path) -> tuple[list[int], list[Gap]]:
    """The batches that wait in this spool, and the gaps it tells of."""
    spool = Spool(folder / "spool.sqlite")
    try:
        batches = waiting(spool)
        return batches, told(spool)
    finally:
        spool.close()
        assert not (folder / "spool.sqlite.mended").exists()
