"""The collector over real gRPC and a real ClickHouse: commits, refusals, manners."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from clickhouse_connect.driver.client import Client
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gpuledger_collector.admission import FIRST_CREDIT, MAX_CREDIT
from gpuledger_collector.listening import ServeError
from gpuledger_collector.serve import (
    Collector,
    CollectorSettings,
    CollectorThread,
    Tls,
)
from gpuledger_collector.store.client import StoreConfig, StoreError, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub
from tests.collector_fixture import WireAgent, batch, present_window, settings_for
from tests.waiting import wait_until


def rows_of(client: Client, table: str = "process_usage") -> int:
    return int(client.query(f"SELECT count() FROM {table}").result_rows[0][0])


def test_batch_when_acked_then_its_rows_are_committed(
    collector: CollectorThread, client: Client
) -> None:
    with WireAgent(collector.address) as agent:
        agent.send(batch(7, rows=4))
        assert agent.acks(1) == [7]
        assert rows_of(client) == 4
        row = client.query(
            "SELECT host, host_pool, gpu, gpu_model, team, model, held_ms, sm_busy_ms, sm_source,"
            " mem_mib_mean, process_start FROM process_usage ORDER BY pid LIMIT 1"
        ).result_rows[0]
    expected = ("h1", "prod", "GPU-1", "H100", "search", "ranker", 2500, 1250, "process", 0, None)
    assert tuple(row) == expected


def test_batch_when_replayed_then_the_books_are_the_same(
    collector: CollectorThread, client: Client
) -> None:
    sent = batch(1)
    for _ in range(3):
        with WireAgent(collector.address) as agent:
            agent.send(sent)
            agent.acks(1)
    assert rows_of(client) == 4
    assert rows_of(client, "gpu_usage") == 1


def test_hello_when_sent_then_host_and_gpus_are_filed(
    collector: CollectorThread, client: Client
) -> None:
    gpus = [wire.Gpu(uuid="GPU-1", model="H100", memory_mib=81559, share_milli=1000)]
    with WireAgent(collector.address, gpus=gpus, driver_version="570.1") as agent:
        agent.send(batch())
        agent.acks(1)
        hello = wire.Hello(host="h1", driver_version="580.2", labels={"rack": "r7"}, gpus=gpus)
        agent.say(wire.AgentMessage(hello=hello))
        agent.send(batch(2))
        agent.acks(1)
    hosts = client.query("SELECT host, driver_version, labels FROM hosts").result_rows
    assert hosts == [("h1", "580.2", {"rack": "r7"})]
    assert client.query("SELECT gpu, memory_mib FROM gpus").result_rows == [("GPU-1", 81559)]


def _two_days() -> wire.Batch:
    made = batch(rows=1, start=present_window() // 86_400 * 86_400)
    made.process_usage.window_start[0] -= 10
    return made


def _changed(change: Callable[[wire.Batch], object]) -> wire.Batch:
    made = batch()
    change(made)
    return made


HOSTILE: dict[str, tuple[wire.Batch, str]] = {
    "short column": (_changed(lambda b: b.process_usage.pid.pop()), "pid: 3 values for 4 rows"),
    "index": (_changed(lambda b: b.process_usage.team.__setitem__(0, 99)), "beyond the dict"),
    "first entry": (_changed(lambda b: b.dictionary.__setitem__(0, "x")), "entry 0 must be"),
    "long text": (_changed(lambda b: b.dictionary.append("x" * 300)), "longer than 256 bytes"),
    "nul": (_changed(lambda b: b.dictionary.append("a\0b")), "holds a NUL"),
    "dictionary": (_changed(lambda b: b.dictionary.extend(["x"] * 5000)), "at most 4096"),
    "rows": (batch(rows=20_001), "at most 20000"),
    "two days": (_two_days(), "more than one UTC day"),
    "future": (batch(start=present_window() + 7200), "in the future"),
    "past": (batch(start=present_window() - 14 * 86_400), "older than 13 days"),
    "unaligned": (batch(start=present_window() + 1), "no multiple of window_s"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_batch_when_hostile_then_refused_whole_and_others_go_on(
    collector: CollectorThread, client: Client, kind: str
) -> None:
    hostile, said = HOSTILE[kind]
    with WireAgent(collector.address, "bad") as bad, WireAgent(collector.address, "good") as good:
        bad.send(hostile)
        refusal = bad.refusal()
        assert refusal.whole_batch
        assert said in refusal.reason
        assert "\n" not in refusal.reason
        bad.send(batch(2))
        good.send(batch(3))
        assert bad.acks(1) == [2]
        assert good.acks(1) == [3]
    assert client.query("SELECT DISTINCT host FROM process_usage ORDER BY 1").result_rows == [
        ("bad",),
        ("good",),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b.process_usage.held_ms.__setitem__(1, 10_001), "row 1: held_ms is longer"),
        (lambda b: b.process_usage.sm_busy_ms.__setitem__(1, 9_999), "sm_busy_ms is over held_ms"),
        (lambda b: b.process_usage.sm_pct_max.extend([0, 101, 0, 0]), "sm_pct_max is over 100"),
        (lambda b: b.process_usage.window_s.__setitem__(1, 7), "window_start is no multiple"),
        (lambda b: b.process_usage.window_s.__setitem__(1, 0), "window_start is no multiple"),
    ],
)
def test_batch_when_a_row_cannot_be_then_only_that_row_is_refused(
    collector: CollectorThread,
    client: Client,
    change: Callable[[wire.Batch], object],
    said: str,
) -> None:
    with WireAgent(collector.address) as agent:
        agent.send(_changed(change))
        refusal = agent.refusal()
    assert (refusal.whole_batch, refusal.rows_refused) == (False, 1)
    assert said in refusal.reason
    pids = client.query("SELECT pid FROM process_usage ORDER BY pid").result_rows
    assert pids == [(100,), (102,), (103,)]


def test_batch_when_from_a_newer_agent_then_what_is_known_is_stored(
    collector: CollectorThread, client: Client
) -> None:
    made = batch()
    made.process_usage.sm_source[:] = [77] * 4
    raw = wire.AgentMessage(batch=made).SerializeToString()
    unknown = b"\xf8\x3f\x01"  # field 1023, varint
    with WireAgent(collector.address) as agent:
        agent.say(wire.AgentMessage.FromString(unknown))
        agent.say(wire.AgentMessage.FromString(raw + unknown))
        assert agent.acks(1) == [1]
    sources = client.query("SELECT DISTINCT sm_source FROM process_usage").result_rows
    assert sources == [("unspecified",)]


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        (wire.Hello(), "host must have"),
        (wire.Hello(host="x" * 300), "host must have"),
        (wire.Hello(host="h", gpus=[wire.Gpu()] * 2000), "2000 GPUs"),
        (wire.Hello(host="h", cluster="y" * 300), "longer than"),
        (wire.Hello(host="h", labels={str(i): "" for i in range(100)}), "100 labels"),
        (None, "first message must be Hello"),
    ],
)
def test_stream_when_it_begins_badly_then_it_ends_with_the_reason(
    collector: CollectorThread, hello: wire.Hello | None, said: str
) -> None:
    with grpc.insecure_channel(collector.address) as channel:
        first = wire.AgentMessage(hello=hello) if hello else wire.AgentMessage(batch=batch())
        call = TelemetryStub(channel).Stream(iter([first]), timeout=30)
        with pytest.raises(grpc.RpcError) as ended:
            list(call)
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert said in ended.value.details()  # type: ignore[attr-defined]


def test_stream_when_more_is_sent_than_allowed_then_it_is_ended(database: StoreConfig) -> None:
    with EmbeddedPaused(database) as paused, WireAgent(paused.address) as agent:
        assert agent.hear().welcome.max_in_flight == FIRST_CREDIT
        for sequence in range(MAX_CREDIT + 2):
            agent.send(batch(sequence))
        with pytest.raises(grpc.RpcError) as ended:
            agent.acks(MAX_CREDIT + 2)
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


class EmbeddedPaused:
    """A collector whose database was dropped under it: it can commit nothing."""

    def __init__(self, database: StoreConfig) -> None:
        self._database = database
        self._collector = CollectorThread(settings_for(database))

    def __enter__(self) -> CollectorThread:
        self._collector.start()
        with connect(self._database) as client:
            client.command("RENAME TABLE hosts_raw TO hosts_away")
        return self._collector

    def __exit__(self, *_: object) -> None:
        with connect(self._database) as client:
            client.command("RENAME TABLE hosts_away TO hosts_raw")
        self._collector.stop()


def test_clickhouse_when_killed_in_mid_stream_then_nothing_acked_is_lost(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "store") as server:
        store = server.store
        with connect(store, create_database=True) as client:
            migrate(client)
        settings = settings_for(store)
        with CollectorThread(settings) as collector, WireAgent(collector.address) as agent:
            start = present_window() - 600
            agent.send(batch(1, start=start))
            assert agent.acks(1) == [1]
            os.kill(server.pid, signal.SIGKILL)
            agent.send(batch(2, start=start + 10))
            wait_until(lambda: _health(collector.address) == "NOT_SERVING")
            server.stop()
            restarted = EmbeddedServer(tmp_path / "store", int(server.url.rsplit(":", 1)[1]))
            with restarted:
                assert agent.acks(1) == [2]
                wait_until(lambda: _health(collector.address) == "SERVING")
                with connect(store) as client:
                    assert rows_of(client) == 8


def _health(address: str) -> str:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def test_port_when_it_hears_garbage_then_the_collector_goes_on(collector: CollectorThread) -> None:
    host, port = collector.address.rsplit(":", 1)
    for garbage in (
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4096),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(garbage)
    with WireAgent(collector.address) as agent:
        agent.send(batch())
        assert agent.acks(1) == [1]


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_collector_when_it_would_speak_plaintext_to_the_network_then_refused(
    database: StoreConfig, listen: str
) -> None:
    settings = CollectorSettings(listen=listen, metrics="", store=database)
    with pytest.raises(ServeError, match="--insecure"):
        CollectorThread(settings).start()


def test_collector_when_tls_files_are_missing_then_refused(
    database: StoreConfig, tmp_path: Path
) -> None:
    tls = Tls(tmp_path / "none.pem", tmp_path / "none.key")
    settings = CollectorSettings(listen="127.0.0.1:0", metrics="", store=database, tls=tls)
    with pytest.raises(ServeError, match="none"):
        CollectorThread(settings).start()


def test_collector_when_the_schema_is_missing_then_it_says_what_to_run(
    empty_database: StoreConfig,
) -> None:
    settings = CollectorSettings(listen="127.0.0.1:0", metrics="", store=empty_database)
    with pytest.raises(StoreError, match="run gpuledger migrate"):
        CollectorThread(settings).start()


def test_settings_when_shown_then_the_password_is_not() -> None:
    store = StoreConfig(password="secret")
    assert "secret" not in repr(CollectorSettings(store=store))
    assert Collector(CollectorSettings(store=store)).port == 0
