"""Rows per core second from gRPC in to ack out: `python -m bench.collector_rows`.

The collector runs in a process of its own, with the embedded ClickHouse in another; a third, this
one, plays agents that send batches made beforehand. CPU seconds are those of the collector
process alone, after it has warmed up. Peers, in the same run, insert the same rows into the same
table without any gRPC, validation or acknowledgement: clickhouse-connect row by row, and
JSONEachRow over plain HTTP.
"""

from __future__ import annotations

import json
import queue
import random
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from bench.report import report
from gpuledger_collector.columns import Source
from gpuledger_collector.packing import Message, pack
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub

AGENTS = 4
BATCHES, WARM = 120, 8
GPUS, PROCESSES, WINDOWS = 8, 16, 30
ROWS = GPUS * PROCESSES * WINDOWS


def made_batch(sequence: int, start: int) -> wire.Batch:
    """A backlog of five minutes of one host: 8 GPUs, 16 processes each."""
    dice = random.Random(sequence)
    names = [f"GPU-{i}" for i in range(GPUS)] + [f"python3[{i}]" for i in range(GPUS * PROCESSES)]
    batch = wire.Batch(sequence=sequence, dictionary=["", "H100", "search", "ranker", *names])
    c = batch.process_usage
    for row in range(ROWS):
        window, process = divmod(row, GPUS * PROCESSES)
        gpu = process // PROCESSES
        mean = dice.randint(1_000, 5_000)
        c.window_start.append(start + 10 * window)
        c.window_s.append(10)
        c.gpu.append(4 + gpu)
        c.gpu_model.append(1)
        c.pid.append(1_000 + process)
        c.process_start.append(start - 50_000)
        c.process_name.append(2)
        c.user.append(2)
        c.team.append(2)
        c.model.append(3)
        c.endpoint.append(3)
        c.use_case.append(0)
        c.pool.append(2)
        c.workload_kind.append(3)
        c.workload.append(4 + GPUS + process)
        c.owner_source.append(2)
        c.context.append(wire.CONTEXT_COMPUTE)
        c.present_ms.append(10_000)
        c.held_ms.append(625)
        c.sm_busy_ms.append(dice.randint(0, 600))
        c.sm_pct_max.append(dice.randint(0, 100))
        c.sm_source.append(wire.SM_SOURCE_PROCESS)
        c.mem_mib_mean.append(mean)
        c.mem_mib_max.append(mean + 10)
        c.mem_source.append(wire.MEM_SOURCE_DRIVER)
    return batch


def collect(store: StoreConfig, pipe: Connection) -> None:
    """The collector's process: says where it listens, then its CPU seconds when asked."""
    settings = CollectorSettings(listen="127.0.0.1:0", metrics="", store=store)
    with CollectorThread(settings) as collector:
        pipe.send(collector.address)
        while pipe.recv() == "cpu":
            pipe.send(time.process_time())


def stream(address: str, host: str, batches: list[wire.Batch]) -> None:
    """One agent: all batches, as many at a time as the collector lets it."""
    outgoing: queue.SimpleQueue[wire.AgentMessage | None] = queue.SimpleQueue()
    outgoing.put(wire.AgentMessage(hello=wire.Hello(host=host)))
    with grpc.insecure_channel(address) as channel:
        answers: Iterator[wire.CollectorMessage] = TelemetryStub(channel).Stream(
            iter(outgoing.get, None)
        )
        credit = next(answers).welcome.max_in_flight
        waiting = [wire.AgentMessage(batch=batch) for batch in reversed(batches)]
        unanswered = 0
        while waiting or unanswered:
            while waiting and unanswered < credit:
                outgoing.put(waiting.pop())
                unanswered += 1
            answer = next(answers)
            credit = answer.welcome.max_in_flight or credit
            unanswered -= len(answer.ack.sequences)
        outgoing.put(None)


def measure(store: StoreConfig, batches: list[wire.Batch]) -> tuple[float, float]:
    """Rows per CPU second and per second of the collector."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=collect, args=(store, theirs))
    process.start()
    address = ours.recv()
    stream(address, "warm", batches[:WARM])
    share = [batches[index::AGENTS] for index in range(AGENTS)]
    ours.send("cpu")
    cpu, began = ours.recv(), time.perf_counter()
    threads = [
        threading.Thread(target=stream, args=(address, f"h{index}", part))
        for index, part in enumerate(share)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    ours.send("cpu")
    cpu = ours.recv() - cpu
    ours.send("end")
    process.join()
    rows = ROWS * len(batches)
    return rows / cpu, rows / wall


def peer(store: StoreConfig, batches: list[wire.Batch], insert: Callable[..., None]) -> float:
    """Rows per CPU second of another way to insert the same rows."""
    now = time.time()
    source = Source("", "peer", "")
    messages = [
        Message(source, wire.AgentMessage(batch=batch).SerializeToString(), now)
        for batch in batches
    ]
    packed = [pack([message], (0.0, now)).inserts[0] for message in messages]
    with connect(store) as client:
        began = time.process_time()
        for one in packed:
            insert(client, store, one.table, one.names, list(zip(*one.columns, strict=True)))
        return ROWS * len(batches) / (time.process_time() - began)


def by_rows(client: Any, _: StoreConfig, table: str, names: list[str], rows: list[Any]) -> None:
    """clickhouse-connect as its documentation begins: a list of rows."""
    client.insert(table, rows, column_names=names)


def by_json(_: Any, store: StoreConfig, table: str, names: list[str], rows: list[Any]) -> None:
    """JSONEachRow over HTTP."""
    body = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows).encode()
    address = f"{store.url}/?database={store.database}&query=INSERT%20INTO%20{table}%20"
    who = {"X-ClickHouse-User": store.username, "X-ClickHouse-Key": store.password}
    request = urllib.request.Request(address + "FORMAT%20JSONEachRow", body, who)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        answer.read()


def main() -> None:
    """Measure and print."""
    start = int(time.time()) // 86_400 * 86_400
    with tempfile.TemporaryDirectory() as directory, EmbeddedServer(Path(directory)) as server:
        store = server.store
        with connect(store, create_database=True) as client:
            migrate(client)
        batches = [made_batch(n, start) for n in range(1, BATCHES + 1)]
        ours, wall = measure(store, batches)
        rows = peer(store, batches[:10], by_rows)
        lines = peer(store, batches[:10], by_json)
    report(
        "collector, gRPC in to ack out",
        ("rows per core second", ours),
        ("rows per second, ClickHouse on the same cores", wall),
        ("clickhouse-connect by rows, no gRPC: rows per core second", rows),
        ("JSONEachRow over HTTP, no gRPC: rows per core second", lines),
        ("ratio to clickhouse-connect by rows", ours / rows),
        ("ratio to JSONEachRow", ours / lines),
    )


if __name__ == "__main__":
    main()
