"""Attribution of windows, when a fault of ours meets one process or one grant."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest

from gpuledger_agent.attribution import rules_file
from gpuledger_agent.attribution.attributor import Attribution, Attributor
from gpuledger_agent.attribution.base import Kind, Workload
from gpuledger_agent.attribution.catalogue import Granted
from gpuledger_agent.devices.simulated import (
    SimulatedClock,
    SimulatedGpus,
    SimulatedProcess,
    SimulatedProcesses,
)
from gpuledger_agent.encode import OwnedGpu
from gpuledger_agent.pipeline import Pipeline
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner
from gpuledger_agent.spool import Spool
from gpuledger_agent.worker import GpuWorker

BEGIN = 1_800_000_000
GRANTS = [
    Granted(
        "slurm",
        Workload(Kind.SLURM_JOB, str(number), name, devices=("0",), share=0.5),
        0,
        float("inf"),
    )
    for number, name in enumerate(("hostile", "train"), start=1)
]


class Faulty(Attributor):
    """Has a fault that whatever is called `hostile` meets."""

    def granted(self) -> list[Granted]:
        return GRANTS

    def process(self, facts: ProcessFacts, user: str) -> Attribution:
        if facts.name == "hostile":
            raise ValueError("not\nforeseen")
        return super().process(facts, user)

    def grant(self, granted: Granted) -> Attribution:
        if granted.workload.name == "hostile":
            raise ValueError("not\nforeseen")
        return super().grant(granted)


def processes() -> Iterator[SimulatedProcess]:
    for pid, name in ((10, "hostile"), (11, "train")):
        yield SimulatedProcess(
            pid=pid,
            name=name,
            user_id=0,
            gpus=(0,),
            start=BEGIN - 100,
            end=float("inf"),
            mem_mib=lambda _: 1_000,
            sm_fraction=lambda _: 0.25,
            environ={"GPULEDGER_TEAM": "search"},
        )


def windows(attributor: Attributor, running: Sequence[SimulatedProcess]) -> list[OwnedGpu]:
    clock, table = SimulatedClock(BEGIN), SimulatedProcesses(running)
    layer = SimulatedGpus("node", "NVIDIA H100 80GB HBM3", 81_559, 1, running, clock)
    pipeline = Pipeline(table, attributor, Spool(None), host_pool="lab", user_name=str)
    worker = GpuWorker(layer.device(0), table, clock, window_s=10, tick_s=1.0)
    owned = []
    for _ in range(30):
        owned += pipeline.attribute(worker.tick())
        clock.at += 1.0
    return owned


def test_window_when_attribution_of_one_fails_then_the_others_are_booked_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        owned = windows(Faulty([], rules_file.load(), Owner()), list(processes()))
    assert len(owned) >= 2
    for gpu in owned:
        hostile, train = sorted(gpu.processes, key=lambda process: process.use.key.pid)
        assert hostile.use.held_ms > 0
        assert (hostile.owner, hostile.workload) == (Owner(pool="lab"), "")
        assert (train.owner.team, train.workload) == ("search", "train[11]")
        assert [grant.workload for grant in gpu.grants] == ["train"]
    assert [record.getMessage() for record in caplog.records] == [
        r"event=not_attributed who='slurm_job hostile' error=ValueError('not\nforeseen')",
        r"event=not_attributed who='pid 10' error=ValueError('not\nforeseen')",
    ]
