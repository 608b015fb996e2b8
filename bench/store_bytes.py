"""Bytes per row on disk: `python -m bench.store_bytes`.

A day of 4 hosts with 8 GPUs and 16 processes each in windows of 10 s: labels repeat, memory drifts,
SM use is noise, as on real hosts. After merging, the size of `process_usage_raw` is compared with
the same rows in a plain table: no codecs, no LowCardinality, ordered by time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench.report import report
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate

HOSTS, GPUS, PROCESSES, WINDOWS = 4, 8, 16, 8_640

ROWS = """
SELECT
    toStartOfDay(now('UTC')) - 86400 + 10 * w AS ts, 10 AS window_s, 'fra1' AS cluster,
    concat('gpu-node-', toString(h)) AS host, 'production' AS host_pool,
    concat('GPU-', toString(sipHash128(h, g))) AS gpu, 'NVIDIA H100 80GB HBM3' AS gpu_model,
    10000 + p * 131 + g * 7919 AS pid, ts - 10 * w - p * 977 AS process_start,
    'python3' AS process_name, 'svc' AS user, concat('team-', toString(p % 5)) AS team,
    concat('model-', toString(p)) AS model, concat('endpoint-', toString(p)) AS endpoint,
    '' AS use_case, 'production' AS pool, 'process' AS workload_kind,
    concat('python3[', toString(pid), ']') AS workload, 'environment' AS owner_source,
    'compute' AS context, 10000 AS present_ms,
    least(10000, busy + intDiv(10000 - 16 * 300, 16) + rand(1) % 3) AS held_ms,
    if(p % 3 = 0, 0, 100 + rand(2) % 400) AS busy, busy AS sm_busy_ms,
    if(busy = 0, 0, intDiv(busy, 6) + rand(3) % 20) AS sm_pct_max, 'process' AS sm_source,
    2000 + p * 250 + intDiv(w, 360) * 2 AS mem_mib_mean,
    mem_mib_mean + if(rand(4) % 20 = 0, 64, 0) AS mem_mib_max, 'driver' AS mem_source
FROM (
    SELECT number % {windows} AS w, intDiv(number, {windows}) % {processes} AS p,
        intDiv(number, {windows} * {processes}) % {gpus} AS g,
        intDiv(number, {windows} * {processes} * {gpus}) AS h
    FROM numbers({windows} * {processes} * {gpus} * {hosts})
)
"""


def bytes_per_row(client: Client, table: str) -> float:
    """Compressed bytes per row of a table, indexes and marks included."""
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    [(size, rows)] = client.query(
        "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active"
        " AND database = currentDatabase() AND table = {table:String}",
        parameters={"table": table},
    ).result_rows
    return float(size) / rows


def plain_columns(client: Client) -> str:
    """The columns of process_usage_raw as somebody would first write them."""
    columns = client.query(
        "SELECT name, type FROM system.columns WHERE table = 'process_usage_raw'"
        " AND database = currentDatabase() ORDER BY position"
    ).result_rows
    plain = [(n, t.replace("LowCardinality(String)", "String")) for n, t in columns]
    return ", ".join(f"{n} {'String' if t.startswith('Enum') else t}" for n, t in plain)


def main() -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedServer(Path(directory)) as server,
        connect(server.store, create_database=True) as client,
    ):
        migrate(client)
        columns = plain_columns(client)
        client.command(f"CREATE TABLE plain ({columns}) ENGINE = MergeTree ORDER BY ts")
        names = ", ".join(part.split(" ", 1)[0] for part in columns.split(", "))
        rows = ROWS.format(windows=WINDOWS, processes=PROCESSES, gpus=GPUS, hosts=HOSTS)
        for table in ("process_usage_raw", "plain"):
            client.command(f"INSERT INTO {table} ({names}) SELECT {names} FROM ({rows})")
        ours, plain = (bytes_per_row(client, t) for t in ("process_usage_raw", "plain"))
    report(
        "store, bytes per row of process_usage",
        ("bytes per row", ours),
        ("bytes per row, plain columns ordered by time", plain),
        ("ratio to plain", ours / plain),
    )


if __name__ == "__main__":
    main()
