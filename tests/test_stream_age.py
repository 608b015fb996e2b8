"""Streams end for others to begin: nothing is lost or told twice, and who is out stays out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_agent.dial import Dialer, Trust
from gpuledger_agent.spool import Spool
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import WireAgent, batch, metric, present_window, settings_for
from tests.tls_fixture import replaced
from tests.uplink_fixture import Start
from tests.waiting import wait_until

AGE_S = 1.0
"""Long enough to be welcomed in, however busy the machine."""


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return replaced(tmp_path / "tokens", b"a" * 32 + b"\n")


@pytest.fixture
def dialer(tmp_path: Path) -> Dialer:
    """Of an agent with that token."""
    return Dialer(Trust(token=replaced(tmp_path / "token", b"a" * 32 + b"\n")))


@pytest.fixture
def collector(database: StoreConfig, tokens: Path) -> Iterator[CollectorThread]:
    """One that lets no stream last."""
    settings = replace(settings_for(database), stream_s=AGE_S, token_file=tokens)
    with CollectorThread(settings) as running:
        yield running


def test_streams_when_they_end_for_their_age_then_every_window_is_stored_and_nobody_alarmed(
    collector: CollectorThread,
    client: Client,
    spool: Spool,
    start: Start,
    dialer: Dialer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    day = present_window() // 86_400 * 86_400 - 86_400
    uplink = start(collector.address, dialer=dialer)
    written = 0
    while uplink.counters.connects < 5:
        spool.append([batch(rows=1, start=day + 10 * written)], 0)
        written += 1
        wait_until(lambda: spool.state().batches < 50)
    wait_until(lambda: not spool.state().batches)
    found = client.query("SELECT count(), uniqExact(ts) FROM process_usage").result_rows
    assert found == [(written, written)]
    assert uplink.counters.rows_acked == 2 * written
    assert metric(collector, "rows_acked_total") >= 2 * written
    assert not caplog.records


def test_agent_when_its_token_is_taken_out_then_its_stream_ends_and_no_other_begins(
    collector: CollectorThread, tokens: Path, dialer: Dialer
) -> None:
    with WireAgent(collector.address, dialer=dialer) as agent:
        assert agent.hear().HasField("welcome")
        replaced(tokens, b"b" * 32 + b"\n")
        with pytest.raises(StopIteration):  # well, not in error
            agent.hear()
    with WireAgent(collector.address, dialer=dialer) as agent:
        with pytest.raises(grpc.RpcError) as told:
            agent.hear()
        assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
