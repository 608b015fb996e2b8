"""What a collector takes in while its store does not: so much, from everyone, and not more."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import grpc
import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_agent.file_limit import raise_file_limit
from gpuledger_collector import writer
from gpuledger_collector.admission import FIRST_CREDIT
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub
from tests.collector_fixture import WireAgent, batch, metric, present_window, settings_for
from tests.faults.proxy import Proxy, proxied
from tests.waiting import wait_until

MIB = 1 << 20


@contextmanager
def behind_a_proxy(database: StoreConfig, mib: int = 1) -> Iterator[tuple[CollectorThread, Proxy]]:
    """A collector with so much memory for what is pending, and what its store is reached by."""
    with proxied(database.url) as proxy:
        settings = settings_for(replace(database, url=proxy.url))
        with CollectorThread(replace(settings, pending_mib=mib)) as collector:
            yield collector, proxy


def test_store_when_away_then_agents_are_held_back_and_nothing_is_lost(
    database: StoreConfig, client: Client
) -> None:
    agents, rows = 12, 2000
    start = present_window() - 10 * FIRST_CREDIT
    with behind_a_proxy(database) as (collector, proxy), ExitStack() as stack:
        proxy.weather.hole = True
        sending = [
            stack.enter_context(WireAgent(collector.address, f"h{n}")) for n in range(agents)
        ]
        for agent in sending:
            for number in range(FIRST_CREDIT):
                agent.send(batch(number, rows, start + 10 * number))
        wait_until(lambda: metric(collector, "agents_held_back") == agents)
        size = batch(0, rows).ByteSize() + 1024
        assert agents * FIRST_CREDIT * size > 3 * MIB
        assert metric(collector, "pending_bytes") < MIB + agents * size
        assert metric(collector, "batches_acked_total") == 0
        proxy.weather.hole = False
        for agent in sending:
            assert agent.acks(FIRST_CREDIT) == list(range(FIRST_CREDIT))
        wait_until(lambda: metric(collector, "pending_bytes") == 0)
    booked = client.query(
        "SELECT host, count(), uniqExact(ts) FROM process_usage GROUP BY host"
    ).result_rows
    assert len(booked) == agents
    assert {row[1:] for row in booked} == {(FIRST_CREDIT * rows, FIRST_CREDIT)}


def test_agent_when_live_then_its_window_is_written_before_the_backlog_of_another(
    database: StoreConfig, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE_BYTES", 1)  # so that each message is a write
    client.command("SYSTEM STOP MERGES process_usage_raw")
    with (
        behind_a_proxy(database) as (collector, proxy),
        WireAgent(collector.address, "backlog") as backlog,
        WireAgent(collector.address, "live") as live,
    ):
        backlog.send(batch(1))
        live.send(batch(1))
        assert backlog.acks(1) == live.acks(1) == [1]
        proxy.weather.hole = True
        before = metric(collector, "pending_bytes")
        assert before == 0
        for number in range(2, 2 + FIRST_CREDIT):
            backlog.send(batch(number))
        wait_until(lambda: metric(collector, "pending_bytes") > 512 * FIRST_CREDIT)
        live.send(batch(2))
        proxy.weather.hole = False
        assert live.acks(1) == [2]
        backlog.acks(FIRST_CREDIT)
    written = client.query(
        "SELECT any(host) FROM process_usage_raw GROUP BY _part"
        " ORDER BY toUInt32(splitByChar('_', _part)[2])"
    ).result_rows
    hosts = [host for (host,) in written]
    assert sorted(hosts) == ["backlog"] * (1 + FIRST_CREDIT) + ["live"] * 2
    # One write of the backlog was under way, and one may have had its turn.
    assert "live" in hosts[3:5]


def test_agent_when_it_uses_its_credit_then_it_is_given_more(database: StoreConfig) -> None:
    with (
        behind_a_proxy(database) as (collector, proxy),
        WireAgent(collector.address) as agent,
    ):
        assert agent.hear().welcome.max_in_flight == FIRST_CREDIT
        proxy.weather.hole = True
        for number in range(FIRST_CREDIT):
            agent.send(batch(number))
        wait_until(lambda: metric(collector, "pending_bytes") > 512 * FIRST_CREDIT)
        proxy.weather.hole = False
        while agent.hear().welcome.max_in_flight != 2 * FIRST_CREDIT:
            pass


def test_agents_when_they_vanish_then_their_memory_is_free(database: StoreConfig) -> None:
    with behind_a_proxy(database) as (collector, proxy):
        proxy.weather.hole = True
        for host in range(5):
            with WireAgent(collector.address, f"h{host}") as agent:
                agent.hear()
                for number in range(FIRST_CREDIT):
                    agent.send(batch(number))
                wait_until(lambda: metric(collector, "pending_bytes") > 512 * FIRST_CREDIT)
        wait_until(lambda: metric(collector, "agents") == 0)
        # What had been taken for a write is still being tried.
        assert metric(collector, "pending_bytes") < 2 * 512 * FIRST_CREDIT
        proxy.weather.hole = False
        wait_until(lambda: metric(collector, "pending_bytes") == 0)


def test_agents_when_they_vanish_while_they_are_answered_then_the_log_is_quiet(
    collector: CollectorThread, caplog: pytest.LogCaptureFixture
) -> None:
    for host in range(40):
        with WireAgent(collector.address, f"h{host}") as agent:
            agent.send(batch(1))
            agent.send(batch(2))
            agent.acks(1)
    wait_until(lambda: metric(collector, "agents") == 0)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_streams_when_more_than_a_thousand_begin_at_once_then_each_is_welcomed(
    database: StoreConfig,
) -> None:
    raise_file_limit()
    with CollectorThread(settings_for(database)) as collector:
        asyncio.run(_stampede(collector, 1500))


async def _stampede(collector: CollectorThread, count: int) -> None:
    """The collector's loop stands still until all are there."""
    go = threading.Event()
    collector._loop.call_soon_threadsafe(go.wait)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(collector.address, options) for _ in range(count)]
    calls = [TelemetryStub(channel).Stream() for channel in channels]
    for number, call in enumerate(calls):
        await call.write(wire.AgentMessage(hello=wire.Hello(host=f"h{number}")))
    go.set()
    async with asyncio.timeout(60):
        heard = await asyncio.gather(*(call.read() for call in calls))
    assert {message.WhichOneof("body") for message in heard} == {"welcome"}
    for call in calls:
        call.cancel()
    await asyncio.gather(*(channel.close() for channel in channels))
