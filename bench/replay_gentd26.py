"""A production day through the whole of gpuledger: `python -m bench.replay_gentd26 DIR`.

DIR holds the files of the trace GenTD26; `bench.gentd26` says how they are read. Its pods live on
simulated hosts in a day that ends now; agents, wire, collector, ClickHouse, roll-ups and views are
the real ones, all on this machine. Printed is what the books say of the day, and how many times
faster than the day it went, from the first reading to the last hour rolled up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench.gentd26 import SAMPLE_S, WINDOW_S, Trace, TraceError, hosts, read
from bench.report import report
from gpuledger_agent import log
from gpuledger_collector.demo.hosts import Fleet
from gpuledger_collector.demo.local import local_books
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.serve import CollectorSettings
from gpuledger_collector.store.client import connect

_HOURS = """
SELECT
    sum(busy_gpu_hours) AS busy,
    sum(held_gpu_hours) AS held,
    held - sum(unmeasured_gpu_hours) AS measured
FROM ledger_hourly
"""

_MINUTES = """
WITH hours AS
(
    SELECT
        hour,
        sumForEach(active_gpu_ms_by_minute) AS active,
        sumForEach(unmeasured_gpu_ms_by_minute) AS unmeasured,
        sumForEach(allocated_gpu_ms_by_minute) AS held
    FROM usage_hourly
    GROUP BY hour
)
SELECT
    quantileExact(0.5)(active) / 60000,
    quantileExact(0.5)(held - unmeasured) / 60000,
    quantileExact(0.5)(held) / 60000
FROM hours
ARRAY JOIN active, unmeasured, held
WHERE held > 0
"""

_MEMORY = """
SELECT (quantileExactWeightedArray(0.95)(mapKeys(mem_mib_histogram), mapValues(mem_mib_histogram))
    + 8) / 1024
FROM usage_hourly
"""

_DIFFERENCE = "SELECT sum(abs(difference_gpu_hours)) FROM ledger_balance"

_ROWS = "SELECT (SELECT count() FROM gpu_usage) + (SELECT count() FROM process_usage)"


@dataclass(frozen=True, slots=True)
class Books:
    """What the books say of a day.

    Measured is what was held and had a duty cycle. Hours are GPU-hours, `..._gpus` medians over
    the minutes, `mem_gib_p95` the 95th percentile of memory in use over time and GPUs, within
    8 MiB.
    """

    busy_hours: float
    held_hours: float
    measured_hours: float
    active_gpus: float
    measured_gpus: float
    held_gpus: float
    mem_gib_p95: float
    difference_hours: float

    @property
    def busy_pct(self) -> float:
        """Busy, in percent of held and measured time."""
        return 100 * self.busy_hours / self.measured_hours


def replay(trace: Trace, collector: str, told: Callable[[int], None]) -> None:
    """Send a trace to the collector at this address; return when all of it is committed.

    `told` hears the percentage that the agents have lived through.
    """
    ends = int(time.time()) // WINDOW_S * WINDOW_S
    begins = ends - WINDOW_S * trace.samples
    fleet = Fleet(hosts(trace, begins), begins, collector)
    try:
        fleet.past(ends, WINDOW_S, WINDOW_S, told, threading.Event())
        while not fleet.sent():
            time.sleep(0.02)
    finally:
        fleet.stop()


def books(client: Client) -> Books:
    """Bring the roll-ups up to date and ask the views."""
    while Rollup(client, settle_s=0).run_once():
        pass
    answers = [client.query(sql).result_rows[0] for sql in (_HOURS, _MINUTES, _MEMORY, _DIFFERENCE)]
    return Books(*(float(value) for row in answers for value in row))


def main() -> None:
    """Replay, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay_gentd26", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the trace is")
    options = parser.parse_args()
    log.configure("warning")
    try:
        trace = read(options.directory)
    except TraceError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    settings = CollectorSettings("127.0.0.1:0", "")
    with (
        tempfile.TemporaryDirectory() as directory,
        local_books(Path(directory), 0, settings, any_port=False) as local,
        connect(local.store) as client,
    ):
        began = time.perf_counter()
        _say(f"{len(trace.pods)} pods live through {trace.samples} samples:")
        replay(trace, local.collector, lambda percent: _say(f" {percent}%"))
        _say("; adding up ...\n")
        said = books(client)
        wall = time.perf_counter() - began
        rows = client.query(_ROWS).result_rows[0][0]
    _print(said, trace.samples * SAMPLE_S, rows, wall)


def _print(said: Books, day_s: float, rows: int, wall_s: float) -> None:
    report(
        "GenTD26 by the books; medians over the minutes of the day",
        ("busy, % of held time with a duty cycle", said.busy_pct),
        ("GPUs active", said.active_gpus),
        ("GPUs held, with a duty cycle", said.measured_gpus),
        ("GPUs held, those without included", said.held_gpus),
        ("GiB of memory in use on a held GPU, 95th percentile", said.mem_gib_p95),
        ("GPU-hours by which the books do not balance", said.difference_hours),
    )
    report(
        "GenTD26, agents, collector and ClickHouse on the same cores",
        ("ratio to real time", day_s / wall_s),
        ("rows per second", rows / wall_s),
        ("seconds", wall_s),
    )


def _say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
