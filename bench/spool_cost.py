"""What the spool costs a host, and how fast it drains: `python -m bench.spool_cost`.

A host of 8 GPUs with 16 processes each, simulated, through the agent's own workers, attribution and
encoding; ten ticks a window. Once its windows go nowhere, once through a spool on disk, read and
forgotten again as after an ack. Then a backlog is drained by the agent's own stream into a
collector with embedded ClickHouse, while live windows go on once a second.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from bench.report import report
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import make_attributor
from gpuledger_agent.devices.simulated import (
    SimulatedClock,
    SimulatedGpus,
    SimulatedProcess,
    SimulatedProcesses,
)
from gpuledger_agent.pipeline import Pipeline
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_agent.user_names import UserNames
from gpuledger_agent.worker import GpuWorker
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from gpuledger_proto.v1 import telemetry_pb2 as wire

GPUS, PROCESSES = 8, 16
WINDOWS = 100
BACKLOG = 2_000


class Nowhere(Spool):
    """Takes batches and keeps none."""

    def append(self, batches: list[wire.Batch], _: int) -> None:
        """Only serialize, as whatever sends them would have to."""
        for batch in batches:
            batch.SerializeToString()
        self.newest += len(batches)


class Host:
    """A simulated host that lives through one window after the other."""

    def __init__(self, spool: Spool, begins: float) -> None:
        self.clock = SimulatedClock(begins)
        processes = [
            SimulatedProcess(
                pid=1_000 + PROCESSES * gpu + n,
                name="python3",
                user_id=0,
                gpus=(gpu,),
                start=int(begins - 1000),
                end=float("inf"),
                mem_mib=lambda t, n=n: 1_000 + 100 * n + t % 7,  # type: ignore[misc]
                sm_fraction=lambda t, n=n: (t / 60 + n / 16) % 1 / 16,  # type: ignore[misc]
                environ={"GPULEDGER_TEAM": f"team-{n}", "GPULEDGER_MODEL": f"model-{n}"},
            )
            for gpu in range(GPUS)
            for n in range(PROCESSES)
        ]
        layer = SimulatedGpus("bench", "NVIDIA H100 80GB HBM3", 81_559, GPUS, processes, self.clock)
        table = SimulatedProcesses(processes)
        attributor = make_attributor(AgentConfig(spool=None, sources=("environment",)), self.clock)
        self.pipeline = Pipeline(
            table, attributor, spool, host_pool="production", user_name=UserNames()
        )
        self.workers = [
            GpuWorker(layer.device(n), table, self.clock, window_s=10, tick_s=1.0)
            for n in range(GPUS)
        ]

    def window(self) -> None:
        """Ten ticks of all GPUs, and what they close."""
        for _ in range(10):
            self.clock.at += 1.0
            closed = [use for worker in self.workers for use in worker.tick()]
            if closed:
                self.pipeline.write(closed)


def live(spool: Spool, *, forget: bool) -> tuple[float, float]:
    """CPU milliseconds and bytes written for a window."""
    host = Host(spool, time.time() // 60 * 60 - 10 * WINDOWS - 600)
    host.window()
    cpu, written = time.process_time(), _written()
    for _ in range(WINDOWS):
        host.window()
        if forget:
            spool.forget([batch.sequence for batch in spool.after(0, 64)])
    return 1000 * (time.process_time() - cpu) / WINDOWS, (_written() - written) / WINDOWS


def _written() -> int:
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def drain(directory: Path, collector: CollectorThread) -> tuple[float, float]:
    """Windows of the host a second, out of a backlog, while live ones go on; bytes of each."""
    spool = Spool(directory / "backlog.sqlite")
    host = Host(spool, time.time() // 60 * 60 - 10 * (BACKLOG + 60))
    for _ in range(BACKLOG):
        host.window()
    left, size = spool.newest, spool.state().bytes / BACKLOG
    uplink = Uplink((collector.address,), spool, lambda: wire.Hello(host="bench"))
    thread = threading.Thread(target=uplink.run)
    began = time.monotonic()
    thread.start()
    next_live = began + 1
    while any(batch.sequence <= left for batch in spool.after(0, 1)):
        if time.monotonic() > next_live:
            host.window()
            next_live += 1
        time.sleep(0.01)
    took = time.monotonic() - began
    uplink.stop()
    thread.join()
    spool.close()
    return BACKLOG / took, size


def main() -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedServer(Path(name) / "store") as server,
    ):
        directory = Path(name)
        without = [live(Nowhere(None), forget=False)[0] for _ in range(3)]
        spooled = [live(Spool(directory / f"{n}.sqlite"), forget=True) for n in range(3)]
        store = server.store
        with connect(store, create_database=True) as client:
            migrate(client)
        with CollectorThread(CollectorSettings("127.0.0.1:0", "", store)) as collector:
            windows, size = drain(directory, collector)
    cpu, written = min(spooled)
    report(
        f"spool, a window of {GPUS} GPUs x {PROCESSES} processes",
        ("CPU ms a window, with the spool", cpu),
        ("CPU ms a window, without", min(without)),
        ("ratio of CPU to without", cpu / min(without)),
        ("bytes written a window", written),
        ("MiB of spool for a day without a collector", size * 8_640 / 2**20),
        ("windows a second out of a backlog, beside live ones", windows),
        ("ratio to real time", 10 * windows),
    )


if __name__ == "__main__":
    main()
