"""Who is in the demo: hosts, workloads, and what their teams asked for.

Ten production hosts with 80 H100 and four experiment hosts with 32 A100. Courses are drawn from a
seed, and are plain functions of time, so that any moment can be asked for; of the time since the
demo begins, so that its story is the same at any hour.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from gpuledger_agent.devices.simulated import Course, SimulatedProcess

H100 = ("NVIDIA H100 80GB HBM3", 81_559)
A100 = ("NVIDIA A100-SXM4-80GB", 81_920)

GPUS_PER_HOST = 8
LONG_AGO_S = 40 * 3600
"""Most of the fleet was started so long before the demo begins."""

Seats = Sequence[tuple[str, Sequence[int]]]
"""Hosts, and GPUs on each."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the fleet, with what runs on it."""

    name: str
    pool: str
    gpu_model: str
    memory_mib: int
    processes: list[SimulatedProcess]
    gpus: int = GPUS_PER_HOST
    cluster: str = "demo"


@dataclass(frozen=True, slots=True)
class Workload:
    """Processes of one owner, one per GPU: `sm(replica)` is the course of each."""

    owner: dict[str, str]
    seats: Seats
    mem_mib: Course
    sm: Callable[[int], Course]
    name: str = "python3"
    age_s: float = LONG_AGO_S
    user_id: int = 1000


def fleet(begins: float, seed: int) -> list[Host]:
    """All hosts and their processes; history begins at `begins`, seconds since the epoch."""
    hosts = {f"prod-{n:02d}": Host(f"prod-{n:02d}", "production", *H100, []) for n in range(1, 11)}
    hosts |= {f"exp-{n:02d}": Host(f"exp-{n:02d}", "experiment", *A100, []) for n in range(1, 5)}
    pids: Iterator[int] = iter(range(2_000, 1_000_000, 7))
    dice = random.Random(seed)  # noqa: S311  # for a story, not for a secret
    for workload in _workloads(dice, begins):
        replica = 0
        for host, gpus in workload.seats:
            for gpu in gpus:
                hosts[host].processes.append(
                    SimulatedProcess(
                        pid=next(pids),
                        name=workload.name,
                        user_id=workload.user_id,
                        gpus=(gpu,),
                        start=math.floor(begins - workload.age_s),
                        end=math.inf,
                        mem_mib=workload.mem_mib,
                        sm_fraction=workload.sm(replica),
                        environ=workload.owner,
                    )
                )
                replica += 1
    return list(hosts.values())


def _workloads(dice: random.Random, begins: float) -> list[Workload]:
    serving = partial(_serving, begins)
    phase = [dice.uniform(0, 6.3) for _ in range(64)]
    return [
        # Asked for 64: 28 replicas are up, and load never needs more than 20 of them.
        Workload(
            _owner("assistant", "assistant-70b", "chat", "production"),
            [("prod-01", _ALL), ("prod-02", _ALL), ("prod-03", _ALL), ("prod-04", range(4))],
            mem_mib=lambda _: 68_000,
            sm=lambda n: serving(0.34, phase[n]) if n < 20 else _idle,
            name="vllm",
        ),
        # A model that is loaded and unloaded: 2 GiB at rest, 40 at work, within minutes.
        Workload(
            _owner("vision", "image-gen-xl", "render", "production"),
            [("prod-05", _ALL)],
            mem_mib=lambda t: 40_960 if t % 240 < 90 else 2_048,
            sm=lambda _: lambda t: 0.82 if t % 240 < 90 else 0.0,
            name="diffusers",
        ),
        # Asked for 12, uses 12, and well.
        Workload(
            _owner("speech", "asr-large", "transcribe", "production"),
            [("prod-06", _ALL), ("prod-07", range(4))],
            mem_mib=lambda _: 52_000,
            sm=lambda n: serving(0.78, phase[30 + n]),
            name="tritonserver",
        ),
        # Loaded last week for a comparison that nobody ended.
        Workload(
            _owner("nlp-research", "rerank-34b", "", "production"),
            [("prod-07", range(4, 8)), ("prod-04", (4, 5))],
            mem_mib=lambda _: 61_000,
            sm=lambda _: _idle,
            name="jupyter",
        ),
        # Nine small models, a GPU each.
        *(
            Workload(
                _owner("platform", f"embed-{n}", f"embed-{n}", "production"),
                [("prod-08", (n - 1,)) if n <= 8 else ("prod-09", (0,))],
                mem_mib=_constant(3_000 + 400 * n),
                sm=lambda _, n=n: serving(0.05 + 0.012 * n, phase[50 + n]),  # type: ignore[misc]
                name="text-embed",
            )
            for n in range(1, 10)
        ),
        # An experiment where customers are served.
        Workload(
            _owner("growth", "bandit-try-7", "", "experiment"),
            [("prod-09", (1, 2))],
            mem_mib=lambda _: 30_000,
            sm=lambda n: serving(0.5, phase[n]),
        ),
        # Training, as experiments should be: on their own hosts, busy.
        Workload(
            _owner("pretrain", "base-8b", "", "experiment"),
            [("exp-01", _ALL), ("exp-02", _ALL)],
            mem_mib=lambda _: 71_000,
            sm=lambda _: lambda t: 0.0 if t % 3600 < 120 else 0.93,
            name="torchrun",
        ),
        # Somebody's script.
        Workload(
            {},
            [("exp-03", (0, 1))],
            mem_mib=lambda _: 12_000,
            sm=lambda n: serving(0.2, phase[n]),
            age_s=-1800,
            user_id=65534,
        ),
    ]


def requests_yaml(begins: float) -> str:
    """What teams asked for, as a file for `gpuledger requests apply`."""
    from_day = _day(begins - 30 * 86_400)
    asked = [
        ("chat-2026", "assistant", "assistant-70b", "chat", "production", "H100", 64, 60),
        ("render-2026", "vision", "image-gen-xl", "render", "production", "H100", 8, 50),
        ("asr-2026", "speech", "asr-large", "transcribe", "production", "H100", 12, 70),
        ("embed-2026", "platform", "", "", "production", "H100", 9, 40),
        ("rerank-trial", "nlp-research", "rerank-34b", "", "production", "H100", 6, 30),
        ("base-8b", "pretrain", "base-8b", "", "experiment", "A100", 16, 90),
    ]
    keys = ("id", "team", "model", "endpoint", "pool", "gpu_model", "gpus", "expected_sm_pct")
    lines = ["requests:"]
    for row in asked:
        named = [f"{key}: {value}" for key, value in zip(keys, row, strict=True) if value != ""]
        lines.append("  - " + "\n    ".join([*named, f"from: {from_day}", "status: approved"]))
    return "\n".join(lines) + "\n"


def prices_yaml(begins: float) -> str:
    """What an hour of a GPU costs here, as a file for `gpuledger prices apply`."""
    from_day = _day(begins - 365 * 86_400)
    return "prices:\n" + "".join(
        f"  - gpu_model: {model}\n    usd_per_gpu_hour: {usd}\n    from: {from_day}\n"
        for model, usd in (("H100", "2.90"), ("A100", "1.60"))
    )


_ALL = range(GPUS_PER_HOST)


def _owner(team: str, model: str, endpoint: str, pool: str) -> dict[str, str]:
    return {
        "GPULEDGER_TEAM": team,
        "GPULEDGER_MODEL": model,
        "GPULEDGER_ENDPOINT": endpoint,
        "GPULEDGER_POOL": pool,
    }


def _serving(begins: float, mean: float, phase: float) -> Course:
    """Load that breathes: slowly over hours, quickly over minutes, never quite still."""

    def course(t: float) -> float:
        slow = math.sin((t - begins) / 5_000 + phase)
        quick = math.sin((t - begins) / 47 + 3 * phase)
        return min(max(mean * (1 + 0.35 * slow + 0.2 * quick), 0.01), 1.0)

    return course


def _idle(_: float) -> float:
    return 0.0


def _constant(value: float) -> Course:
    return lambda _: value


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
