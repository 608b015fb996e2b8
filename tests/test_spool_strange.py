"""Spool files that SQLite opens and no agent wrote: found by `python -m tests.fuzz`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire

Damage = Callable[[Path], None]


def by(*statements: str) -> Damage:
    """Damage done in SQL."""

    def inflict(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.executescript(";".join(statements))
        db.close()

    return inflict


def at(offset: int, value: bytes) -> Damage:
    """Damage done to bytes."""

    def inflict(path: Path) -> None:
        body = bytearray(path.read_bytes())
        body[offset : offset + len(value)] = value
        path.write_bytes(body)

    return inflict


def in_a_name(path: Path) -> None:
    """No UTF-8 where SQLite describes a table, which its own message repeats."""
    body = path.read_bytes()
    path.write_bytes(body.replace(b"CREATE TABLE batch (", b"CREATE \xceABLE batch (", 1))


DAMAGE = {
    "a loss that ends before it begins": by("INSERT INTO gap VALUES (200, 100, 1, 1)"),
    "a loss from the year 5000 on": by("INSERT INTO gap VALUES (1e11, 1e11 + 1, 1, 1)"),
    "a loss that is text": by("INSERT INTO gap VALUES (CAST(x'ff' AS TEXT), 1, 1, 1)"),
    "an end that is text": by("UPDATE meta SET value = CAST(x'ff' AS TEXT)"),
    "an end that is no time": by("UPDATE meta SET value = -1"),
    "sequences at their last": by("UPDATE sqlite_sequence SET seq = 9223372036854775807"),
    "sequences that began anew": by("UPDATE sqlite_sequence SET seq = 0"),
    "a batch without a body": by("INSERT INTO batch VALUES (2, 0, 0, 0, 0, 'text')"),
    "a batch that ends before it begins": by(
        "UPDATE batch SET sequence = 2", "INSERT INTO batch VALUES (1, 200, 100, 2, 0, x'')"
    ),
    "another table in the place of one": by("DROP TABLE gap", "CREATE TABLE gap (end INTEGER)"),
    "a format to come": at(44, b"\0\0\0\x09"),
    "a table described in no text": in_a_name,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_spool_when_no_agent_wrote_it_so_then_windows_are_kept_on_disk_all_the_same(
    tmp_path: Path, damage: Damage
) -> None:
    path = tmp_path / "spool.sqlite"
    first, second = wire.Batch(dictionary=["", "first"]), wire.Batch(dictionary=["", "second"])
    spool = Spool(path)
    spool.append([first], 1_799_999_990)
    spool.close()
    damage(path)
    spool = Spool(path)
    spool.begin(1_800_000_000)
    spool.tell_gaps()
    spool.append([second], 1_800_000_010)
    assert spool.state().on_disk
    spool.tell_gaps()
    spool.close()
    spool = Spool(path)
    spool.after(0, 1)  # where damage shows only now, the file is replaced
    kept = [batch.dictionary[1] for batch in spool.after(0, 1_000) if len(batch.dictionary) > 1]
    spool.close()
    assert kept[-1] == "second"
    assert kept == ["first", "second"] or damage in (DAMAGE["a format to come"], in_a_name)
