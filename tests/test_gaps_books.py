"""What is lost is in the books: as unobserved, neither idle nor free."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_agent.gaps import Gap, GapReason, gap_batches
from gpuledger_collector.serve import CollectorThread
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import WireAgent
from tests.nvml_standin.world import Standin
from tests.test_agent_daemon import agent, one, wait_until

GPUS = [
    wire.Gpu(uuid="GPU-1", model="H100", share_milli=1000),
    wire.Gpu(uuid="GPU-2", model="H100", share_milli=1000),
    wire.Gpu(uuid="MIG-1", model="A100", parent_uuid="GPU-3", share_milli=250),
]


def send(address: str, *gaps: Gap, host: str = "h1") -> None:
    """As an agent tells of gaps, twice, as the network may."""
    with WireAgent(address, host, gpus=GPUS) as stream:
        for round_ in range(2):
            for number, batch in enumerate(gap_batches(gaps)):
                batch.sequence = 10 * round_ + number + 1
                stream.send(batch)
                stream.acks(1)


def test_gaps_when_told_then_each_hour_has_its_part_as_unobserved(
    collector: CollectorThread, client: Client
) -> None:
    hour = int(time.time()) // 3600 * 3600 - 7200
    send(
        collector.address,
        Gap(hour + 1800, hour + 5400, 0, GapReason.STOPPED),
        Gap(hour + 6000, hour + 6360, 720, GapReason.SPOOL_FULL),
    )
    send(collector.address, Gap(hour + 3500, hour + 3600, 9, GapReason.DISK), host="h2")
    told = client.query(
        "SELECT host, toUnixTimestamp(ts), gap_s, rows, reason FROM telemetry_gaps ORDER BY ALL"
    ).result_rows
    assert [row for row in told if row[2] and row[0] == "h2"] == [
        ("h2", hour + 3500, 100, 9, "disk")
    ]
    assert sum(row[2] for row in told if row[4] == "stopped") == 3600
    balance = client.query(
        "SELECT toUnixTimestamp(hour), pool, gpu_model, unobserved_gpu_hours, capacity_gpu_hours,"
        " difference_gpu_hours FROM ledger_balance WHERE unobserved_gpu_hours > 0 ORDER BY ALL"
    ).result_rows
    first, second = (1800 + 100) / 3600, (1800 + 360) / 3600
    assert balance == [
        (hour, "prod", "A100", pytest.approx(0.25 * first), 0, 0),
        (hour, "prod", "H100", pytest.approx(2 * first), 0, 0),
        (hour + 3600, "prod", "A100", pytest.approx(0.25 * second), 0, 0),
        (hour + 3600, "prod", "H100", pytest.approx(2 * second), 0, 0),
    ]


def test_gaps_when_they_overlap_then_rows_add_up_and_time_counts_once(
    collector: CollectorThread, client: Client
) -> None:
    hour = int(time.time()) // 3600 * 3600 - 3600
    send(collector.address, Gap(hour, hour + 600, 5, GapReason.SPOOL_FULL))
    send(collector.address, Gap(hour, hour + 60, 7, GapReason.SPOOL_FULL))
    send(collector.address, Gap(hour + 300, hour + 900, 0, GapReason.STOPPED))
    assert one(client, "SELECT sum(rows) FROM telemetry_gaps") == 12
    unobserved = one(client, "SELECT sum(unobserved_gpu_hours) FROM ledger_balance")
    assert unobserved == pytest.approx(2.25 * 900 / 3600)


def test_gpu_when_it_left_its_host_before_the_gap_then_it_is_not_missed(
    collector: CollectorThread, client: Client
) -> None:
    hour = int(time.time()) // 3600 * 3600 - 3600
    send(collector.address, Gap(hour, hour + 600, 0, GapReason.STOPPED))
    client.command(
        "INSERT INTO gpus_raw SELECT * REPLACE ('GPU-9' AS gpu, seen_at - 86400 AS seen_at)"
        " FROM (SELECT * FROM gpus_raw WHERE gpu = 'GPU-1')"
    )
    assert one(client, "SELECT count() FROM gpus") == 4
    unobserved = one(client, "SELECT sum(unobserved_gpu_hours) FROM ledger_balance")
    assert unobserved == pytest.approx(2.25 / 6)


@pytest.mark.parametrize("columns", [{"gap_s": [1, 2]}, {"reason": [2, 2], "gap_s": [1]}])
def test_gaps_when_inconsistent_then_refused(
    collector: CollectorThread, columns: dict[str, list[int]]
) -> None:
    batch = wire.Batch(sequence=1, dictionary=[""])
    batch.telemetry_gaps.window_start.append(int(time.time()))
    for name, values in columns.items():
        getattr(batch.telemetry_gaps, name).extend(values)
    with WireAgent(collector.address) as stream:
        stream.send(batch)
        assert stream.refusal().whole_batch


def test_agent_when_it_was_killed_then_the_time_it_did_not_run_is_told(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    standin.raw.gpus = 1
    with agent(standin, tmp_path, collector.address) as running:
        wait_until(lambda: one(client, "SELECT count() FROM gpu_usage") >= 3)
        running.kill()
        running.wait()
        died = int(time.time())
    wait_until(lambda: time.time() > died + 3)
    with agent(standin, tmp_path, collector.address):
        wait_until(lambda: bool(one(client, "SELECT count() FROM telemetry_gaps")))
    [gap] = client.query(
        "SELECT toUnixTimestamp(ts), gap_s, rows, reason FROM telemetry_gaps"
    ).result_rows
    assert gap[2:] == (0, "stopped")
    assert gap[0] <= died
    assert gap[0] + gap[1] >= died + 3
    inside = f"ts >= {gap[0]} AND ts + window_s <= {gap[0] + gap[1]}"
    assert one(client, f"SELECT count() FROM gpu_usage WHERE {inside}") == 0
