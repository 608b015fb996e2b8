"""What the agent costs a host: `python -m bench.agent_cost [SECONDS]`.

8 GPUs with 16 processes each, true processes behind the stand-in NVML library of the tests; its
samples flow. The agent runs as on a host: ticks of 1 s, windows of 10 s, spool on disk, streaming
to a collector. Peers read the same figures once a second through the same library, one after the
other: nvitop by the calls of its Python interface that give them, gpustat by its one query.
Start-up is left out: CPU counts from the fifth second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.report import report
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.nvml_standin.world import Standin, build

GPUS, PROCESSES = 8, 16
WARM_S = 5.0

NVITOP = """
import time
from nvitop import Device
devices = Device.all()
while True:
    began = time.monotonic()
    for device in devices:
        device.gpu_utilization(), device.memory_used(), device.power_usage()
        device.temperature(), device.sm_clock(), device.total_volatile_uncorrected_ecc_errors()
        processes = device.processes()
        seen = [
            (p.name(), p.username(), p.gpu_memory(), p.gpu_sm_utilization())
            for p in processes.values()
        ]
    time.sleep(max(1 - (time.monotonic() - began), 0))
"""

GPUSTAT = """
import time
from gpustat import GPUStatCollection
while True:
    began = time.monotonic()
    GPUStatCollection.new_query()
    time.sleep(max(1 - (time.monotonic() - began), 0))
"""


@dataclass(frozen=True)
class Cost:
    """What a program used: CPU seconds per hour, and resident MiB at the end."""

    cpu_s_per_hour: float
    rss_mib: float


def measure(command: list[str], env: dict[str, str], seconds: float) -> Cost:
    """Run a program that samples until it is ended."""
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            watched = psutil.Process(process.pid)
            time.sleep(WARM_S)
            before, began = watched.cpu_times(), time.monotonic()
            time.sleep(seconds)
            after, wall = watched.cpu_times(), time.monotonic() - began
            used = after.user + after.system - before.user - before.system
            return Cost(3600 * used / wall, watched.memory_info().rss / 2**20)
        finally:
            process.kill()


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        standin = Standin(directory / "world", build(directory), GPUS)
        for gpu in range(GPUS):
            standin.raw.gpu[gpu].flowing = standin.raw.gpu[gpu].gpm = 1
            for _ in range(PROCESSES):
                sleeper = subprocess.Popen(["sleep", "3600"])
                stack.callback(sleeper.wait)
                stack.callback(sleeper.kill)
                standin.add(gpu, sleeper.pid, 1_000, sm=5)
        server = stack.enter_context(EmbeddedServer(directory / "store"))
        store = server.store
        with connect(store, create_database=True) as client:
            migrate(client)
        settings = CollectorSettings("127.0.0.1:0", "", store)
        collector = stack.enter_context(CollectorThread(settings))
        agent = [str(Path(sys.executable).parent / "gpuledger-agent"), "run"]
        agent += ["--collector", collector.address, "--spool", str(directory / "spool")]
        ours = measure(agent, standin.env, seconds)
        nvitop = measure([sys.executable, "-c", NVITOP], standin.env, seconds)
        gpustat = measure([sys.executable, "-c", GPUSTAT], standin.env, seconds)
    report(
        f"agent, {GPUS} GPUs x {PROCESSES} processes, read once a second",
        ("CPU seconds per hour: gpuledger-agent", ours.cpu_s_per_hour),
        ("CPU seconds per hour: nvitop's loop", nvitop.cpu_s_per_hour),
        ("CPU seconds per hour: gpustat's loop", gpustat.cpu_s_per_hour),
        ("ratio of CPU to nvitop's", ours.cpu_s_per_hour / nvitop.cpu_s_per_hour),
        ("ratio of CPU to gpustat's", ours.cpu_s_per_hour / gpustat.cpu_s_per_hour),
        ("resident MiB: gpuledger-agent", ours.rss_mib),
        ("resident MiB: nvitop's loop", nvitop.rss_mib),
        ("resident MiB: gpustat's loop", gpustat.rss_mib),
    )


if __name__ == "__main__":
    main()
