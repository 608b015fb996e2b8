"""What attribution costs: `python -m bench.attribution_cost`.

True processes of this host (`sleep`), in a pod each by their cgroup text, with a source that knows
all pods: 16 and 1,000 of them. Cold: each process is looked up in /proc, its workload found and its
owner worked out by the built-in rules out of 30 labels. Warm: what every further tick (identity of
the process) and window (owner of the process) takes. Peer: psutil asked for identity and name of
the same processes, without any owner.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psutil

from bench.report import report
from gpuledger_agent.attribution import rules_file
from gpuledger_agent.attribution.attributor import Attributor
from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.catalogue import Catalogue
from gpuledger_agent.processes import HostProcesses, ProcessFacts
from gpuledger_agent.records import Owner

REPEATS = 20
UID = "15513b48-e7a5-48fc-b9e3-92f713f3"


class Pods:
    """A source that knows one pod for each number."""

    name = "cri"

    def __init__(self, count: int) -> None:
        self._pods = [
            Workload(
                Kind.POD,
                f"{number:064x}",
                f"ml/ranker-{number}",
                {f"example.com/label-{n}": "x" for n in range(28)}
                | {"team": f"team-{number % 20}", "model": f"model-{number % 50}"},
                namespace="ml",
            )
            for number in range(count)
        ]

    def present(self) -> bool:
        """Always."""
        return True

    def workloads(self) -> Sequence[Workload]:
        """All pods."""
        return self._pods

    def workload(self, ref: WorkloadRef) -> Workload | None:  # noqa: ARG002  # the protocol's
        """None that the list has not."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    """Pids of so many processes."""
    processes = [subprocess.Popen(["sleep", "3600"]) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def milliseconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """CPU time of this thread for one call, the best of several."""
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return 1000 * min(times)


def measure(count: int) -> None:
    """Print the figures for so many processes."""
    rules = rules_file.load()
    catalogue = Catalogue("cri", lambda: Pods(count), time.time)
    attributor = Attributor([catalogue], rules, Owner())
    attributor.start()
    attributor.settle()
    with sleepers(count) as pids:
        table = HostProcesses(rules.variables().__contains__)

        def in_pods(found: Sequence[ProcessFacts]) -> list[ProcessFacts]:
            return [
                replace(f, cgroup=f"0::/kubepods/burstable/pod{UID}{n:04x}/{n:064x}")
                for n, f in enumerate(found)
            ]

        def identify() -> list[ProcessFacts]:
            return [table.identify(pid, 0.0) for pid in pids]

        cold_identity = milliseconds(identify, 1)
        facts = in_pods(identify())
        cold_owner = milliseconds(lambda: [attributor.process(f, "ann") for f in facts], 1)
        if not all(attributor.process(f, "ann").owner.team for f in facts):
            raise SystemExit("a process that carries labels was not attributed")
        warm_identity = milliseconds(identify)
        warm_owner = milliseconds(lambda: [attributor.process(f, "ann") for f in facts])
        peer = milliseconds(lambda: [_ask_psutil(pid) for pid in pids])
    attributor.stop()
    report(
        f"attribution, {count} processes in pods of 30 labels",
        ("cold, ms: identity", cold_identity),
        ("cold, ms: owner", cold_owner),
        ("warm, ms a tick: identity", warm_identity),
        ("warm, ms a window: owner", warm_owner),
        ("psutil for identity and name, ms", peer),
        ("ratio of a warm tick to psutil", warm_identity / peer),
    )


def _ask_psutil(pid: int) -> tuple[float, str]:
    process = psutil.Process(pid)
    return process.create_time(), process.name()


def main() -> None:
    """Measure and print."""
    for count in (16, 1_000):
        measure(count)


if __name__ == "__main__":
    main()
