"""What each kind of fault does to the world, and how it ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

import grpc

from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub
from tests.faults.agent import CLUSTER, POOL
from tests.faults.diary import lives, taped
from tests.faults.processes import NotNow
from tests.faults.proxy import Proxy
from tests.faults.world import Collector, Host, World

REPLAY_S = 10.0
"""How long a replay waits for its answers."""

MOST_OFFSET_S = 200.0
"""Further ahead than 300 s a collector refuses windows."""


class Target(Enum):
    """What a fault strikes at."""

    HOST = "host"
    COLLECTOR = "collector"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what, where, for how long, and dice for the rest."""

    kind: str
    target: int
    seconds: float
    dice: random.Random


End = Callable[[], None] | None
Inflict = Callable[[World, Fault], End]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how often it comes beside others, and how long it lasts (seconds)."""

    target: Target
    weight: int
    seconds: tuple[float, float]
    inflict: Inflict


def _host(world: World, fault: Fault) -> Host:
    return world.hosts[fault.target]


def _collector(world: World, fault: Fault) -> Collector:
    return world.collectors[fault.target]


def _agent_killed(world: World, fault: Fault) -> End:
    _host(world, fault).agent.kill(fault.seconds)
    return None


def _agent_restarted(world: World, fault: Fault) -> End:
    _host(world, fault).agent.terminate(fault.seconds)
    return None


def _agent_paused(world: World, fault: Fault) -> End:
    return _host(world, fault).agent.pause()


def _collector_killed(world: World, fault: Fault) -> End:
    _collector(world, fault).process.kill(fault.seconds)
    return None


def _collector_restarted(world: World, fault: Fault) -> End:
    _collector(world, fault).process.terminate(fault.seconds)
    return None


def _collector_paused(world: World, fault: Fault) -> End:
    return _collector(world, fault).process.pause()


def _collectors_swapped(world: World, fault: Fault) -> End:
    """The load balancer changes its mind."""
    lines = _host(world, fault).lines
    lines[0].upstream, lines[1].upstream = lines[1].upstream, lines[0].upstream
    for line in lines:
        line.cut()
    return None


def _store_killed(world: World, fault: Fault) -> End:  # noqa: ARG001  # there is one
    return world.store.kill()


def _store_paused(world: World, fault: Fault) -> End:  # noqa: ARG001  # there is one
    return world.store.pause()


def _cut(line: Proxy) -> None:
    if not line.cut():
        raise NotNow


def _wire_cut(world: World, fault: Fault) -> End:
    _cut(fault.dice.choice(_host(world, fault).lines))
    return None


def _slowed(line: Proxy, dice: random.Random) -> End:
    if dice.random() < 0.5:
        line.weather.delay_s = dice.uniform(0.01, 0.5)
    else:
        line.weather.bytes_per_s = dice.uniform(2_000, 50_000)
    return line.clear


def _holed(line: Proxy, dice: random.Random) -> End:
    """Nothing passes for a while; then what waited does, or the connection is found dead."""
    line.weather.hole = True

    def over() -> None:
        if dice.random() < 0.5:
            line.cut()
        line.clear()

    return over


def _wire_slow(world: World, fault: Fault) -> End:
    return _slowed(fault.dice.choice(_host(world, fault).lines), fault.dice)


def _wire_hole(world: World, fault: Fault) -> End:
    return _holed(fault.dice.choice(_host(world, fault).lines), fault.dice)


def _acks_lost(world: World, fault: Fault) -> End:
    """What the agent sends arrives and is committed; it never hears of it."""
    lines = _host(world, fault).lines
    for line in lines:
        line.weather.mute = True

    def over() -> None:
        for line in lines:
            line.cut()
            line.clear()

    return over


def _store_cut(world: World, fault: Fault) -> End:
    _cut(_collector(world, fault).line)
    return None


def _store_slow(world: World, fault: Fault) -> End:
    return _slowed(_collector(world, fault).line, fault.dice)


def _store_hole(world: World, fault: Fault) -> End:
    return _holed(_collector(world, fault).line, fault.dice)


def _commit_unanswered(world: World, fault: Fault) -> End:
    """The next inserts are committed, and the connection drops before the answer."""
    for collector in world.collectors:
        collector.line.weather.swallow += fault.dice.randint(1, 2)
    return None


def _disk_full(world: World, fault: Fault) -> End:
    disk = _host(world, fault).disk
    if disk is None or disk.full or disk.protected:
        raise NotNow
    disk.fill(fault.dice.choice([0, 0, fault.dice.randrange(64 << 10)]))
    return disk.free


def _disk_read_only(world: World, fault: Fault) -> End:
    """The agent dies and comes back on a disk that takes nothing, for a while."""
    host = _host(world, fault)
    if host.disk is None or host.disk.full or host.disk.protected:
        raise NotNow
    host.agent.kill(down_s=0.0)
    host.disk.protect("ro")
    return partial(host.disk.protect, "rw")


def _clock_set(world: World, fault: Fault) -> End:
    """Most steps are small; a large step back makes the agent wait for as long."""
    wall, dice = _host(world, fault).wall, fault.dice
    size = dice.choice([dice.uniform(0.5, 5)] * 14 + [dice.uniform(5, 40)] * 5 + [150.0])
    step = size * dice.choice([1, -1])
    if abs(wall.offset_s + step) > MOST_OFFSET_S:
        step = -step
    wall.set(wall.offset_s + step)
    return None


def _replayed(world: World, fault: Fault) -> End:
    """Batches of some time ago, whose windows are in the books, come once more."""
    host = _host(world, fault)
    kept = {life.number: life.appends for life in lives(host.diary)}
    found = [
        batch
        for life, number, batch in taped(host.diary)
        if (append := kept[life].get(number)) and append.safe
    ]
    if not found:
        raise NotNow
    batches = fault.dice.sample(found, min(len(found), 8))
    address = fault.dice.choice(world.collectors).address
    threading.Thread(target=_replay, args=(host.name, batches, address), daemon=True).start()
    return None


def _replay(host: str, batches: list[wire.Batch], address: str) -> None:
    hello = wire.Hello(host=host, cluster=CLUSTER, host_pool=POOL)
    said = [wire.AgentMessage(hello=hello), *(wire.AgentMessage(batch=b) for b in batches)]
    try:
        with grpc.insecure_channel(address) as channel:
            for _ in TelemetryStub(channel).Stream(iter(said), timeout=REPLAY_S):
                pass
    except grpc.RpcError:
        pass  # another fault came in between: a replay that fails proves nothing, and harms nothing


ON_DISKS = frozenset({"disk full", "disk read-only"})
"""Kinds that need disks of their own."""

KINDS: dict[str, Kind] = {
    "agent killed": Kind(Target.HOST, 6, (0.0, 2.0), _agent_killed),
    "agent restarted": Kind(Target.HOST, 3, (0.0, 2.0), _agent_restarted),
    "agent paused": Kind(Target.HOST, 2, (0.2, 5.0), _agent_paused),
    "collector killed": Kind(Target.COLLECTOR, 5, (0.0, 2.0), _collector_killed),
    "collector restarted": Kind(Target.COLLECTOR, 2, (0.0, 1.0), _collector_restarted),
    "collector paused": Kind(Target.COLLECTOR, 2, (0.2, 4.0), _collector_paused),
    "collectors swapped": Kind(Target.HOST, 4, (0.0, 0.0), _collectors_swapped),
    "ClickHouse killed": Kind(Target.STORE, 5, (0.0, 2.0), _store_killed),
    "ClickHouse paused": Kind(Target.STORE, 1, (0.2, 3.0), _store_paused),
    "wire cut": Kind(Target.HOST, 5, (0.0, 0.0), _wire_cut),
    "wire slow": Kind(Target.HOST, 2, (1.0, 5.0), _wire_slow),
    "wire dead": Kind(Target.HOST, 2, (0.5, 5.0), _wire_hole),
    "acks lost": Kind(Target.HOST, 4, (0.5, 4.0), _acks_lost),
    "store line cut": Kind(Target.COLLECTOR, 4, (0.0, 0.0), _store_cut),
    "store line slow": Kind(Target.COLLECTOR, 2, (1.0, 5.0), _store_slow),
    "store line dead": Kind(Target.COLLECTOR, 2, (0.5, 4.0), _store_hole),
    "commit unanswered": Kind(Target.STORE, 6, (0.0, 0.0), _commit_unanswered),
    "disk read-only": Kind(Target.HOST, 2, (2.0, 8.0), _disk_read_only),
    "disk full": Kind(Target.HOST, 4, (2.0, 8.0), _disk_full),
    "clock set": Kind(Target.HOST, 3, (0.0, 0.0), _clock_set),
    "batches replayed": Kind(Target.HOST, 3, (0.0, 0.0), _replayed),
}
"""By name, as the final table shows them."""
