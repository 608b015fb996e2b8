"""Records what an agent of this version says: `python -m tests.wire.record`.

Run once per released version, into a new file. Recordings are never renewed: they stand for
agents that are still out there.
"""

from __future__ import annotations

from pathlib import Path

from gpuledger_agent.devices.base import Context, GpuInfo, SmSource
from gpuledger_agent.encode import OwnedGpu, OwnedProcess, batches
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessKey, ProcessUse, Window
from gpuledger_proto.v1 import telemetry_pb2 as wire

RECORDING = Path(__file__).parent / "v0.1.0.bin"

START = 1_795_500_000
"""2026-11-24 05:20:00 UTC, start of the recorded window."""


def messages() -> list[wire.AgentMessage]:
    """A Hello and one batch: a shared GPU with a known and an unattributed process."""
    window = Window(START, 10)
    gpu = GpuInfo("GPU-5c1e", 3, "NVIDIA H100 80GB HBM3", 81_559)
    owner = Owner("search", "ranker-7b", "rank", "online", "production", "environment")
    uses = (
        ProcessUse(ProcessKey(4242, START - 9_999), Context.COMPUTE, 10_000, 7_000, 4_000, 91,
                   SmSource.PROCESS, 2_048, 40_960),
        ProcessUse(ProcessKey(4711, 0), Context.GRAPHICS, 10_000, 2_000, 0, 0,
                   SmSource.PROCESS, None, None),
    )  # fmt: skip
    use = GpuUse(window, gpu, 10_000, 9_000, 4_000, 91, SmSource.DEVICE, 43_008, 43_100, 312, 401,
                 61, 1_755, None, None, 0, 0, uses)  # fmt: skip
    rows = (
        OwnedProcess(uses[0], "python3", "svc", owner, "process", "python3[4242]"),
        OwnedProcess(uses[1], "Xorg", "root", Owner(pool="production"), "process", "Xorg[4711]"),
    )
    health = HealthRow(window, 10, 1, 3, 8, 1, 2, 1, 0, 0, 0, 0, 41, 52, 0, "0.1.0")
    hello = wire.Hello(
        host="gpu-node-17",
        cluster="fra1",
        host_pool="production",
        agent_version="0.1.0",
        driver_version="570.124.06",
        labels={"rack": "r7"},
        gpus=[
            wire.Gpu(uuid=gpu.uuid, index=3, model=gpu.model, memory_mib=81_559, share_milli=1000)
        ],
    )
    sent = [wire.AgentMessage(hello=hello)]
    for sequence, batch in enumerate(batches([OwnedGpu(use, rows)], [health]), 1):
        batch.sequence = sequence
        sent.append(wire.AgentMessage(batch=batch))
    return sent


def load(path: Path) -> list[wire.AgentMessage]:
    """Messages of a recording: each preceded by its length in four bytes, little-endian."""
    raw, loaded = path.read_bytes(), []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        loaded.append(wire.AgentMessage.FromString(raw[4 : 4 + size]))
        raw = raw[4 + size :]
    return loaded


def main() -> None:
    """Write the recording; refuses to replace one."""
    with RECORDING.open("xb") as file:
        for message in messages():
            raw = message.SerializeToString(deterministic=True)
            file.write(len(raw).to_bytes(4, "little") + raw)


if __name__ == "__main__":
    main()
