"""Books in which every panel has something to show, among many rows that none of them needs.

The review's books (review_fleet.py), and what they lack. The last four hours are to be shown.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from gpuledger_collector.rollup import Rollup
from tests import review_fleet
from tests.headroom_fleet import fill_hours
from tests.ledger_fleet import GPU_MODELS, gpu, insert
from tests.rule_fleet import END, GIB, MINUTE, ask, fill, introduce, minutes, report, request, work
from tests.traffic_books import served

HOURS = review_fleet.HOURS
SINCE = review_fleet.SINCE
DAYS, TEAMS = 30, 80
CROWD_HOURS = 24 * DAYS * TEAMS
"""Hours of teams that were there before any time shown."""

CROWD = 60_000
"""Windows of each kind, of the day before, in the same partitions as those shown."""


def fill_books(client: Client) -> None:
    """Fill a new database, as the user who writes the books."""
    fill_hours(client, _growing, pool="batch", gpu_model="NVIDIA A100")
    review_fleet.keep(client)
    _spoil(client)
    _fault(client)
    findings.evaluate(client, [r for r in rules.built_in() if r.name == "experiment_on_production"])
    _notice(client)
    _crowd(client)
    _past(client)


def _growing(hour: datetime) -> float:
    """60 GPUs of 100 four weeks ago, one more a day."""
    return min(88 - (END - hour) / timedelta(days=1), 100)


def _spoil(client: Client) -> None:
    """Foreign, unowned and small work, a request that expects, a host of another cluster."""
    introduce(client, "west", "crowd-0", "crowd")
    west = {"cluster": "west", "host": "host-0", "gpu": "GPU-west", "seen_at": END}
    insert(client, "gpus_raw", [west])
    now = minutes(HOURS)
    ask(client, request("lab", pool="experiment", expected_sm_pct=Decimal(80)))
    small = {"gpu_model": GPU_MODELS[1], "host": "host-4", "mem_mib_mean": GIB, "mem_mib_max": GIB}
    fill(
        client,
        [
            *work(now, 7, pool="experiment", team="lab", model="trial"),
            *work(now, 8, team="", process_name="miner", user="eve"),
            *work(now, 0, **small, team="tiny", model="one", sm_busy_ms=MINUTE // 50),
            *work(now, 1, **small, team="tiny", model="two", sm_busy_ms=MINUTE // 50),
        ],
    )


def _fault(client: Client) -> None:
    """A GPU and an agent with every gauge, and with every kind of trouble."""
    now = minutes(HOURS)
    hot = {
        "gpu": "GPU-hot", "gpu_index": 9, "window_s": 60, "observed_ms": MINUTE, "sm_busy_ms": 0,
        "unallocated_ms": MINUTE, "mem_mib_max": 9, "power_w_mean": 300, "temperature_c_max": 91,
        "sm_clock_mhz_mean": 900, "ecc_uncorrected": 2, "xid": 79, "offered": 63,
    }  # fmt: skip
    insert(client, "gpu_usage_raw", [gpu(at, **hot) for at in now])
    sick = {
        "cluster": "east", "host": "host-0", "agent_version": "0.1.0", "ticks_missed": 1,
        "tick_ms_max": 900, "gpus_failed": 1, "processes": 4, "processes_unattributed": 1,
        "spool_bytes": 4_096, "rows_dropped": 3, "cpu_ms": 600, "rss_mib": 60, "clock_step_ms": 5,
    }  # fmt: skip
    report(client, now, **sick)
    lost = {
        "ts": END - timedelta(minutes=30),
        "gap_s": 900,
        "cluster": "east",
        "host": "host-0",
        "rows": 7,
    }
    insert(client, "telemetry_gaps_raw", [lost | {"reason": "spool_full"}])
    first_token = {"ttft_ms": 50, "ttft_buckets": [(0, 100_000)], "ttft_counts": [1]}
    talk = served(now[0], [300.0], window_s=60, observed_ms=MINUTE, server="b:1", **first_token)
    insert(client, "endpoint_traffic_raw", [talk])
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass


def _notice(client: Client) -> None:
    row = {
        "receiver": "ops", "finding": "f", "first_seen": SINCE, "number": 1, "change": "opened",
        "rule": "r", "severity": "warning", "noticed_at": SINCE, "state": "failed", "attempts": 3,
        "fault": "refused", "said_at": SINCE,
    }  # fmt: skip
    insert(client, "notification_versions", [row])


def _crowd(client: Client) -> None:
    """Hosts of another cluster, until an hour before what is shown."""
    place = "'west', concat('crowd-', toString(number % 100))"
    at = f"toDateTime({SINCE.timestamp():.0f}, 'UTC') - 3600 - 60 * intDiv(number, 100)"
    card = f"'crowd', concat('GPU-', toString(number % 100)), '{GPU_MODELS[0]}'"
    gpus = "cluster, host, host_pool, gpu, gpu_model"
    for table, columns, values in (
        ("gpu_usage_raw", gpus, f"{place}, {card}"),
        ("process_usage_raw", f"{gpus}, pool", f"{place}, {card}, 'crowd'"),
        ("gpu_allocation_raw", f"{gpus}, pool", f"{place}, {card}, 'crowd'"),
        ("endpoint_traffic_raw", "cluster, host, pool, server", f"{place}, 'crowd', 's'"),
        ("agent_health_raw", "cluster, host", place),
    ):
        client.command(
            f"INSERT INTO {table} (ts, window_s, {columns})"
            f" SELECT {at}, 60, {values} FROM numbers({CROWD})"
        )


def _past(client: Client) -> None:
    """Hours of many teams that were there for a month, and no longer are."""
    at = f"toDateTime({(END - timedelta(days=40)).timestamp():.0f}, 'UTC') - 3600 * number AS hour"
    hours = f"numbers({24 * DAYS})"
    nothing = "arrayWithConstant(60, toUInt64(0))"
    client.command(
        "INSERT INTO usage_hourly_versions (hour, computed_at, cluster, host_pool, gpu_model, pool,"
        " team, held_ms, active_gpu_ms_by_minute, unmeasured_gpu_ms_by_minute,"
        f" allocated_gpu_ms_by_minute) SELECT {at}, hour, 'west', 'crowd', '{GPU_MODELS[0]}',"
        f" 'crowd', concat('gone-', toString(team)), 3600000, {nothing}, {nothing}, {nothing}"
        f" FROM {hours} ARRAY JOIN range({TEAMS}) AS team"
    )
    client.command(f"INSERT INTO rolled_hours SELECT {at}, hour, hour FROM {hours}")
