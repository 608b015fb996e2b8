"""ClickHouse against the truth: every window, by the public views."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_agent.user_names import UserNames
from tests.faults.agent import POOL
from tests.faults.devices import MEMORY_MIB, MODEL, gpu_of, uuid
from tests.faults.truth import NOISE, Expected, Key, TrueProcess, TrueWindow

ROUNDING_MS = 1.0
"""Milliseconds are whole. Of windows of which all figures are whole anyway, none may be off."""

PARTS_MS = 3.0
"""Parts are rounded so that they add up to their whole: by turns, busy and other time apart."""

SHOWN = 20

Row = Mapping[str, Any]

_GPU = """
SELECT
    toUnixTimestamp(ts) AS start, gpu_index, gpu, gpu_model, host_pool, mem_total_mib,
    observed_ms, unallocated_ms, sm_busy_ms
FROM gpu_usage WHERE host = {host:String}
"""
_PROCESS = """
SELECT
    toUnixTimestamp(ts) AS start, gpu, pid,
    toUnixTimestamp(assumeNotNull(process_start)) AS process_start,
    process_name, user, team, model, pool,
    present_ms, held_ms, sm_busy_ms, mem_mib_mean, mem_mib_max
FROM process_usage WHERE host = {host:String}
"""
_GAPS = """
SELECT toUnixTimestamp(ts) AS start, start + gap_s AS end, rows, reason
FROM telemetry_gaps WHERE host = {host:String} ORDER BY start
"""
_HEALTH = "SELECT toUnixTimestamp(ts) AS start FROM agent_health WHERE host = {host:String}"


@dataclass(slots=True)
class Differences:
    """How the books differ from the truth. `compared` counts rows by table."""

    compared: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str) -> None:
        """One difference: missing, extra, changed, untold, or wrong in another way."""
        self.found[kind] += 1
        if len(self.examples) < SHOWN:
            self.examples.append(f"{kind}: {what}")


def compare(
    client: Client, host: str, books: Expected, window_s: int, differences: Differences
) -> None:
    """Hold one host's windows in ClickHouse to what must be there."""
    for fault in books.faults:
        differences.add("wrong", f"{host}: {fault}")
    processes: dict[Key, list[Row]] = {}
    for row in _rows(client, _PROCESS, host):
        processes.setdefault((gpu_of(row["gpu"]), row["start"]), []).append(row)
    seen = set()
    for row in _rows(client, _GPU, host):
        key = (row["gpu_index"], row["start"])
        differences.compared["gpu_usage"] += 1
        true = books.must.get(key) or books.may.get(key)
        where = f"{host} GPU {key[0]} at {key[1]}"
        if true is None or key in seen:
            differences.add("extra", where)
        else:
            _compare_gpu(row, true, host, where, differences)
            _compare_processes(processes.pop(key, []), true, where, differences)
        seen.add(key)
    for (gpu, start), rows in processes.items():
        differences.add("extra", f"{host} GPU {gpu} at {start}: {len(rows)} processes")
    _compare_lost(client, host, books, seen, window_s, differences)
    _compare_health(client, host, books, differences)


def _compare_lost(
    client: Client,
    host: str,
    books: Expected,
    seen: set[Key],
    window_s: int,
    differences: Differences,
) -> None:
    """What is not there, the agents must have told; and what they told must not be there.

    A window of which no GPU of the host is in the books must be told whole. Otherwise a later agent
    began within it, and what must be told is the time that was observed before.
    """
    gaps = list(_rows(client, _GAPS, host))
    given_up = Told([gap for gap in gaps if gap["rows"]])
    stopped = Told([gap for gap in gaps if not gap["rows"]])
    differences.compared["telemetry_gaps"] += len(gaps)
    for gpu, start in books.must.keys() - seen:
        if not given_up.covers(start, start + window_s):
            differences.add("missing", f"{host} GPU {gpu} at {start}")
    there = {start for _, start in seen}
    for (gpu, start), lost in (books.may | books.unkept).items():
        if (gpu, start) in seen:
            continue
        differences.compared["windows lost and told"] += 1
        end = start + window_s
        if start in there:
            end = min(end, int(lost.until))
        if not (stopped.covers(start, end) or given_up.covers(start, end)):
            differences.add("untold", f"{host} GPU {gpu} from {start} to {end}")
    for gpu, start in books.must.keys() & seen:
        if stopped.covers(start, start + window_s):
            differences.add("wrong", f"{host} GPU {gpu} at {start} is there, and told to be lost")
    told = sum(gap["rows"] for gap in gaps)
    if told != books.rows_dropped:
        differences.add("wrong", f"{host}: {books.rows_dropped} rows were given up, {told} told")


class Told:
    """Time of which an agent told that its windows are lost."""

    def __init__(self, gaps: list[Row]) -> None:
        self._spans: list[list[int]] = []
        for gap in gaps:
            if self._spans and gap["start"] <= self._spans[-1][1]:
                self._spans[-1][1] = max(self._spans[-1][1], gap["end"])
            else:
                self._spans.append([gap["start"], gap["end"]])

    def covers(self, start: int, end: int) -> bool:
        """Whether all of this time was told; of none it was."""
        if end <= start:
            return True
        at = bisect_right(self._spans, start, key=itemgetter(0)) - 1
        return at >= 0 and end <= self._spans[at][1]


def _compare_gpu(
    row: Row, true: TrueWindow, host: str, where: str, differences: Differences
) -> None:
    held = true.held_or_busy
    figures = {
        "observed_ms": true.observed,
        "unallocated_ms": true.observed - held,
        "sm_busy_ms": true.busy,
    }
    facts = {
        "gpu": uuid(host, row["gpu_index"]),
        "gpu_model": MODEL,
        "host_pool": POOL,
        "mem_total_mib": MEMORY_MIB,
    }
    _check(row, figures, facts, 0.0 if true.whole else ROUNDING_MS, where, differences)


def _compare_processes(
    rows: list[Row], true: TrueWindow, where: str, differences: Differences
) -> None:
    left = dict(true.processes)
    for row in rows:
        differences.compared["process_usage"] += 1
        process = left.pop((row["pid"], row["process_start"]), None)
        place = f"{where} pid {row['pid']}"
        if process is None:
            differences.add("extra", place)
        else:
            _compare_process(row, true, process, place, differences)
    for (pid, _), process in left.items():
        # What rounds to nothing makes no row.
        if max(process.present, true.held_by(process)) > ROUNDING_MS:
            differences.add("missing", f"{where} pid {pid}")


_USERS = UserNames()


def _compare_process(
    row: Row, window: TrueWindow, process: TrueProcess, where: str, differences: Differences
) -> None:
    job = process.job
    figures = {
        "present_ms": process.present,
        "held_ms": window.held_by(process),
        "sm_busy_ms": process.busy,
    }
    facts: dict[str, Any] = {
        "process_name": job.name,
        "user": _USERS(job.user_id),
        "team": job.environ.get("GPULEDGER_TEAM", ""),
        "model": job.environ.get("GPULEDGER_MODEL", ""),
        "pool": POOL,
    }
    if process.present > ROUNDING_MS:
        facts |= {"mem_mib_mean": job.mem_mib, "mem_mib_max": job.mem_mib}
    _check(row, figures, facts, 0.0 if window.whole else PARTS_MS, where, differences)


def _check(
    row: Row,
    figures: Mapping[str, float],
    facts: Mapping[str, object],
    off_ms: float,
    where: str,
    differences: Differences,
) -> None:
    wrong = [
        f"{name} {row[name]}, not {true:.1f}"
        for name, true in figures.items()
        if abs(row[name] - true) > off_ms + NOISE
    ]
    wrong += [f"{name} {row[name]!r}, not {fact!r}" for name, fact in facts.items()
              if row[name] != fact]  # fmt: skip
    if wrong:
        differences.add("changed", f"{where}: {', '.join(wrong)}")


def _compare_health(client: Client, host: str, books: Expected, differences: Differences) -> None:
    found = {row["start"] for row in _rows(client, _HEALTH, host)}
    differences.compared["agent_health"] += len(found)
    for start in books.health - found:
        differences.add("missing", f"{host}: the agent's own row at {start}")


def _rows(client: Client, sql: str, host: str) -> Iterator[Row]:
    with client.query_row_block_stream(sql, parameters={"host": host}) as stream:
        names = stream.source.column_names
        for block in stream:
            for values in block:
                yield dict(zip(names, values, strict=True))
