"""What the recorded host has to say: a row of every table, and batches that are refused."""

from __future__ import annotations

from pathlib import Path

from gpuledger_agent import __version__
from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.daemon import wire_gpu
from gpuledger_agent.devices.base import Context, GpuInfo, SmSource
from gpuledger_agent.encode import OwnedGpu, OwnedGrant, OwnedProcess, batches
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessKey, ProcessUse, Window
from gpuledger_agent.serving.delta import Served
from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.histogram import Histogram
from gpuledger_agent.serving.traffic import Traffic
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire

START = 1_735_711_200
"""2025-01-01 06:00:00 UTC, start of the recorded window: past by any clock."""

WINDOW = Window(START, 10)
WHOLE = GpuInfo("GPU-5c1e", 3, "NVIDIA H100 80GB HBM3", 81_559)
SLICE = GpuInfo("MIG-77aa", 4, "NVIDIA H100 80GB HBM3", 9_984, 1 / 7, "GPU-90bd", "1g.10gb")
OWNER = Owner("search", "ranker-7b", "rank", "online", "production", "environment")


def hello() -> wire.Hello:
    return wire.Hello(
        host="gpu-node-17",
        cluster="fra1",
        host_pool="production",
        agent_version=__version__,
        boot_id="0d9c1c5e-6a0b-4f0e-9d35-6b7a41c0a1aa",
        driver_version="570.124.06",
        labels={"rack": "r7"},
        gpus=[wire_gpu(WHOLE), wire_gpu(SLICE)],
    )


def fill(path: Path) -> None:
    """Make a spool: four batches, two set aside, losses that are told and one that is not yet."""
    spool = Spool(path)
    spool.append(list(batches([_shared(), _sliced()], [_health()], [_traffic()])), WINDOW.end)
    spool.close()
    spool = Spool(path)
    spool.begin(WINDOW.end + 50)  # nobody measured in between
    for told in (True, False):
        spool.append([broken()], WINDOW.end + 60)
        spool.set_aside(spool.newest, "one that an earlier collector refused")
        if told:
            spool.tell_gaps()
    spool.append([impossible(), broken()], WINDOW.end + 60)
    spool.close()


def impossible() -> wire.Batch:
    """Two windows of a GPU, of which one was busy for longer than it lasted."""
    made = wire.Batch(dictionary=["", WHOLE.uuid, WHOLE.model])
    for at, busy_ms in ((START + 60, 10_001), (START + 70, 9_999)):
        columns = made.gpu_usage
        columns.window_start.append(at)
        columns.window_s.append(10)
        columns.gpu.append(1)
        columns.gpu_model.append(2)
        columns.observed_ms.append(10_000)
        columns.sm_busy_ms.append(busy_ms)
    return made


def broken() -> wire.Batch:
    """A batch whose columns are of different lengths."""
    made = wire.Batch(dictionary=["", WHOLE.uuid])
    made.gpu_usage.window_start.extend([START + 80, START + 90])
    made.gpu_usage.gpu.append(1)
    return made


def _shared() -> OwnedGpu:
    """A whole GPU with a known and an unattributed process, and a grant."""
    uses = (
        ProcessUse(ProcessKey(4242, START - 9_999), Context.COMPUTE, 10_000, 7_000, 4_000, 91,
                   SmSource.PROCESS, 2_048, 40_960),
        ProcessUse(ProcessKey(4711, 0), Context.GRAPHICS, 10_000, 2_000, 0, 0,
                   SmSource.PROCESS, None, None),
    )  # fmt: skip
    use = GpuUse(WINDOW, WHOLE, 10_000, 9_000, 4_000, 91, SmSource.DEVICE, 43_008, 43_100, 312,
                 401, 61, 1_755, None, None, 0, 79, uses)  # fmt: skip
    rows = (
        OwnedProcess(uses[0], "python3", "svc", OWNER, Kind.POD, "ml/ranker-0"),
        OwnedProcess(uses[1], "Xorg", "root", Owner(pool="production"), Kind.PROCESS, "Xorg[4711]"),
    )
    grant = OwnedGrant(OWNER, Kind.POD, "ml/ranker-0", "kubelet", 500, 9_500, 500)
    return OwnedGpu(use, rows, (grant,))


def _sliced() -> OwnedGpu:
    """A MIG instance that is busy though nobody shows on it; with figures of GPM, none of power."""
    use = GpuUse(WINDOW, SLICE, 1_429, 0, 900, 63, SmSource.GPM, 12, 13, None,
                 None, None, None, 7, 40, 2, 0, ())  # fmt: skip
    return OwnedGpu(use, ())


def _health() -> HealthRow:
    return HealthRow(WINDOW, 10, 1, 3, 8, 1, 2, 1, 4, 4_096, 5, 6, 41, 52, 250, __version__)


def _traffic() -> Traffic:
    served = Served(
        {Column.REQUESTS: 8, Column.ERRORS: 1, Column.PROMPT_TOKENS: 800,
         Column.GENERATED_TOKENS: 80},
        {Column.LATENCY: Histogram((100_000, 1_000_000), (5, 2, 1), 2_345),
         Column.TTFT: Histogram((1_000,), (0, 8), 99)},
        {Column.RUNNING: 2.5, Column.WAITING: 1.0, Column.KV_CACHE: 42.4},
    )  # fmt: skip
    return Traffic(WINDOW, OWNER, Kind.POD, "ml/ranker-0", "127.0.0.1:8000", "vllm", "llama", 9_500,
                   served)  # fmt: skip
