"""`python -m tests.faults.agent DIARY SPOOL …`: the real agent over simulated GPUs."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click

from gpuledger_agent import log
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.core_dumps import trace_crashes
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.encode import row_count
from gpuledger_agent.leaving import leave
from gpuledger_agent.spool_state import SpoolError
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.faults.course import GRID_S, Course
from tests.faults.devices import CourseLayer, CourseProcesses, HeldClock, WallClock
from tests.faults.diary import Diary, packed, windows_of

WINDOW_S = GRID_S
TICK_S = 0.5
POOL = "production"
CLUSTER = "faults"

SPOOL_UNUSABLE = 2
"""Exit code of an agent that cannot open its spool."""


@click.command()
@click.argument("diary", type=click.Path(path_type=Path))
@click.argument("spool", type=click.Path(path_type=Path))
@click.option("--seed", type=int, required=True)
@click.option("--host", required=True)
@click.option("--gpus", type=int, required=True)
@click.option("--life", type=int, required=True)
@click.option("--collector", "collectors", multiple=True)
def main(
    diary: Path,
    spool: Path,
    seed: int,
    host: str,
    gpus: int,
    life: int,
    collectors: tuple[str, ...],
) -> None:
    """Live one life of a host's agent, until SIGTERM or worse."""
    log.configure("info")
    trace_crashes()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    config = AgentConfig(
        collectors=collectors,
        host=host,
        cluster=CLUSTER,
        pool=POOL,
        sources=("environment",),
        window_s=WINDOW_S,
        tick_s=TICK_S,
        spool=spool,
        metrics_listen="",
        health_listen="",
    )
    clock = HeldClock(WallClock(diary / "clock"))
    course = Course(seed, host)
    notes = Diary(diary, life)
    layer = CourseLayer(host, gpus, course, clock, notes)
    try:
        daemon = Daemon(config, layer, clock, CourseProcesses(course))
    except SpoolError as error:
        click.echo(error, err=True)
        sys.exit(SPOOL_UNUSABLE)
    notes.note(event="begin", gpus=gpus, resume=daemon.resumes_at)
    _overhear(daemon, notes)
    daemon.run(stop)
    notes.note(event="end")


def _overhear(daemon: Daemon, notes: Diary) -> None:
    """Note what is appended to the spool, before and after."""
    append = daemon.spool.append
    count = 0

    def noted(batches: list[wire.Batch], written_until: int) -> None:
        nonlocal count
        count += 1
        windows = packed(windows_of(batches))
        health = [start for batch in batches for start in batch.agent_health.window_start]
        rows = sum(map(row_count, batches))
        notes.note(event="append", n=count, rows=rows, until=written_until, windows=windows,
                   health=health)  # fmt: skip
        notes.tape(count, batches)
        append(batches, written_until)
        state = daemon.spool.state()
        notes.note(event="done", n=count, dropped=state.rows_dropped,
                   on_disk=state.on_disk, waiting=state.batches)  # fmt: skip

    daemon.spool.append = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    leave(main(standalone_mode=False))
