"""Whether the disks of ClickHouse last, and whether it keeps up with merging."""

from __future__ import annotations

from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from gpuledger_agent.check_result import Check, Verdict

_GIB = 1 << 30

LOW = 0.15
FULL = 0.05
"""Free parts of a disk: below the one a warning, below the other merges soon find no room."""

SOON_DAYS = 3.0
"""A disk that is full sooner is a failure, not a warning."""

MANY_PARTS = 300
"""In one partition. ClickHouse slows inserts down at 1000 and refuses them at 3000."""

_DISK = """
SELECT name, free_space, total_space
FROM system.disks
WHERE name IN (SELECT disk_name FROM system.parts WHERE database = currentDatabase())
    OR name = 'default'
ORDER BY free_space / greatest(total_space, 1)
LIMIT 1
"""

_DAYS = """
SELECT max(bytes), count()
FROM
(
    SELECT partition, sum(bytes_on_disk) AS bytes
    FROM system.parts
    WHERE active AND database = currentDatabase() AND table LIKE '%\\_raw'
        AND match(partition, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$')
    GROUP BY partition
)
"""

_KEPT = "SELECT argMax(days, applied_at) FROM retention WHERE kind = 'raw'"

_PARTS = """
SELECT table, partition, count() AS parts
FROM system.parts
WHERE active AND database = currentDatabase()
GROUP BY table, partition
ORDER BY parts DESC
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Disk:
    """The fullest disk, and what windows take: bytes, and days (`kept_days` 0: for ever)."""

    name: str
    free: int
    total: int
    day: int
    days: int
    kept_days: int

    @property
    def days_left(self) -> float:
        """Until it is full; infinite if the windows to come before old ones go have room."""
        coming = self.kept_days - self.days if self.kept_days else float("inf")
        if not self.day or self.day * max(coming, 0) <= self.free:
            return float("inf")
        return self.free / self.day


def space(client: Client) -> Check:
    """How full the fullest disk is, and when it will be full."""
    # Asked first: a user who may not read the tables is refused, not shown an empty system.parts.
    [(kept_days,)] = client.query(_KEPT).result_rows
    [(name, free, total)] = client.query(_DISK).result_rows
    [(day, days)] = client.query(_DAYS).result_rows
    return judged(Disk(name, free, total, day, days, kept_days))


def judged(disk: Disk) -> Check:
    """The verdict on a disk."""
    part = disk.free / max(disk.total, 1)
    text = (
        f"{disk.name}: {disk.free / _GIB:.1f} GiB of {disk.total / _GIB:.1f} free"
        f" ({part:.0%}); windows take {disk.day / _GIB:.2f} GiB a day"
    )
    if disk.days_left < float("inf"):
        text += f", full in {disk.days_left:.0f} days"
    todo = "a larger disk, or shorter --retention-raw (gpuledger migrate)"
    if part < FULL or disk.days_left < SOON_DAYS:
        return Check(Verdict.FAIL, "disk", text, todo)
    if part < LOW or disk.days_left < float("inf"):
        return Check(Verdict.WARN, "disk", text, todo)
    return Check(Verdict.OK, "disk", text)


def parts(client: Client) -> Check:
    """Whether merges keep up with inserts."""
    # As in `space`: system.parts leaves out what a user may not read; this refuses.
    client.query(_KEPT)
    rows = client.query(_PARTS).result_rows
    if not rows:
        return Check(Verdict.OK, "parts", "none yet")
    table, partition, count = rows[0]
    text = f"at most {count} in a partition ({table} {partition})"
    if count < MANY_PARTS:
        return Check(Verdict.OK, "parts", text)
    todo = "merges fall behind: look at ClickHouse's disk and system.merges"
    return Check(Verdict.WARN, "parts", text, todo)
