"""The herd after an outage: `python -m bench.reconnect [--agents 2000] [--windows 60]`.

So many agents connect at once, each with a backlog of windows of 8 GPUs with 2 processes each,
made and sent as an agent does it, a batch a window. The collector runs in a process of its own
with its defaults, the embedded ClickHouse in another, the agents in a third, all on this machine.
Beside them one agent without a backlog closes a window a second. The peer, in the same run, is a
bare gRPC server that acknowledges the same agents at once and keeps nothing: what so many streams
cost in memory before anything is done about them.

An hour's backlog is 360 windows, which takes two small cores some eight minutes. The default is a
sixth of it: memory is at its peak long before.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from bench.herd import LIVE, Herd, Message, backlog, stampede
from bench.report import report
from gpuledger_agent.file_limit import raise_file_limit
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import (
    TelemetryServicer,
    add_TelemetryServicer_to_server,
)

PEER_WINDOWS = 10
"""A server that keeps nothing has its full size long before the backlog ends."""

_UNLIMITED = (
    ("grpc.server.max_pending_requests", 1 << 20),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 20),
)

Serve = Callable[[StoreConfig, Connection], None]


def collector(store: StoreConfig, pipe: Connection) -> None:
    """The collector's process, with its own settings throughout."""
    settings = CollectorSettings(listen="127.0.0.1:0", metrics="", store=store)
    with CollectorThread(settings) as running:
        pipe.send(running.address)
        pipe.recv()
        pipe.send(_usage())


class _Bare(TelemetryServicer):
    async def Stream(self, messages: AsyncIterator[Any], context: Any) -> None:  # noqa: N802
        await context.write(wire.CollectorMessage(welcome=wire.Welcome(max_in_flight=64)))
        async for message in messages:
            if message.WhichOneof("body") == "batch":
                ack = wire.Ack(sequences=[message.batch.sequence])
                await context.write(wire.CollectorMessage(ack=ack))


def bare(_: StoreConfig, pipe: Connection) -> None:
    """The peer's process."""
    asyncio.run(_bare(pipe))


async def _bare(pipe: Connection) -> None:
    server = grpc.aio.server(options=_UNLIMITED)
    add_TelemetryServicer_to_server(_Bare(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await asyncio.to_thread(pipe.recv)
    pipe.send(_usage())
    await server.stop(0)


def _usage() -> tuple[float, float]:
    """Most MiB that this process ever had resident, and its CPU seconds."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024, time.process_time()
    raise RuntimeError("no VmHWM in /proc/self/status")


def measure(
    serve: Serve, store: StoreConfig, agents: int, messages: list[Message]
) -> tuple[float, float, Herd]:
    """Peak MiB and CPU seconds of a server under the herd, and what the herd found."""
    context = get_context("spawn")
    server_pipe, its_end = context.Pipe()
    herd_pipe, herds_end = context.Pipe()
    server = context.Process(target=serve, args=(store, its_end), daemon=True)
    server.start()
    address = server_pipe.recv()
    herd = context.Process(
        target=stampede, args=(address, agents, messages, herds_end), daemon=True
    )
    herd.start()
    herds_end.close()  # so that its death is heard
    found = herd_pipe.recv()
    herd.join()
    server_pipe.send("enough")
    peak, cpu = server_pipe.recv()
    server.join()
    return peak, cpu, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=2_000)
    parser.add_argument("--windows", type=int, default=60, help="360 make an hour")
    asked = parser.parse_args()
    raise_file_limit()
    messages = backlog(asked.windows, int(time.time()) // 10 * 10)
    with tempfile.TemporaryDirectory() as directory, EmbeddedServer(Path(directory)) as server:
        store = server.store
        with connect(store, create_database=True) as client:
            migrate(client)
        peer, _, _ = measure(bare, store, asked.agents, messages[:PEER_WINDOWS])
        peak, cpu, herd = measure(collector, store, asked.agents, messages)
        rows = asked.agents * sum(message.rows for message in messages)
        _check(store, herd, rows)
    sent_mib = asked.agents * sum(len(message.body) for message in messages) / 2**20
    batches = asked.agents * len(messages)
    report(
        f"{asked.agents} agents reconnect at once, {asked.windows} windows behind",
        ("MiB of backlog, as sent", sent_mib),
        ("MiB resident at the peak", peak),
        ("MiB resident at the peak, a bare gRPC server that keeps nothing", peer),
        ("ratio to the bare server", peak / peer),
        ("seconds until all is committed", max(herd.done)),
        ("rows per second", rows / max(herd.done)),
        ("batches per second", batches / max(herd.done)),
        ("microseconds of the collector's CPU per batch", 1e6 * cpu / batches),
        ("slowest agent's drain over the fastest's", max(herd.done) / min(herd.done)),
        (
            "seconds to the ack of a live window meanwhile, median",
            statistics.median(herd.latencies),
        ),
        ("seconds to the ack of a live window meanwhile, longest", max(herd.latencies)),
    )


def _check(store: StoreConfig, herd: Herd, rows: int) -> None:
    """A figure of a run that lost something or kept it twice is none."""
    query = "".join(
        f"SELECT count() AS n FROM {table}_raw WHERE host != '{LIVE}' UNION ALL "
        for table in ("process_usage", "gpu_usage", "agent_health")
    )
    with connect(store) as client:
        kept = client.query(f"SELECT sum(n) FROM ({query.removesuffix(' UNION ALL ')})")
    if not herd.rows == kept.result_rows[0][0] == rows:
        raise RuntimeError(f"sent {rows}, acked {herd.rows}, kept {kept.result_rows[0][0]} rows")


if __name__ == "__main__":
    main()
