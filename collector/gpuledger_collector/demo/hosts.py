"""Runs the agent's own code for many simulated hosts, over past time at once and then live."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from gpuledger_agent import __version__
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import make_attributor, wire_gpu
from gpuledger_agent.devices.simulated import SimulatedClock, SimulatedGpus, SimulatedProcesses
from gpuledger_agent.pipeline import Pipeline
from gpuledger_agent.records import GpuUse
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_agent.user_names import UserNames
from gpuledger_agent.worker import GpuWorker
from gpuledger_collector.demo.fleet import Host
from gpuledger_proto.v1 import telemetry_pb2 as wire

LIVE_WINDOW_S = 10
LIVE_TICK_S = 1.0

PAST_ROWS = 100
"""Windows of GPUs that an agent gathers before it writes them while it lives through the past,
where one follows the other within milliseconds."""


class SimulatedAgent:
    """One host: simulated GPUs under the agent's workers, pipeline, spool and uplink."""

    def __init__(self, host: Host, clock: SimulatedClock, collector: str) -> None:
        self._config = AgentConfig(
            collectors=(collector,),
            host=host.name,
            cluster=host.cluster,
            pool=host.pool,
            spool=None,
            sources=("environment",),
        )
        self._clock = clock
        self._layer = SimulatedGpus(
            host.name, host.gpu_model, host.memory_mib, host.gpus, host.processes, clock
        )
        self._processes = SimulatedProcesses(host.processes)
        self.spool = Spool(None)
        self._pipeline = Pipeline(
            self._processes,
            make_attributor(self._config, clock),
            self.spool,
            host_pool=host.pool,
            user_name=UserNames(),
        )
        self._uplink = Uplink((collector,), self.spool, self._hello)
        self._thread = threading.Thread(target=self._uplink.run, name=host.name, daemon=True)
        self._workers: list[GpuWorker] = []
        self._closed: list[GpuUse] = []

    def start(self, window_s: int, tick_s: float) -> None:
        """Begin windows of this length; what was open ends here."""
        self._closed += [use for worker in self._workers for use in worker.close()]
        self.write()
        self._workers = [
            GpuWorker(
                self._layer.device(index),
                self._processes,
                self._clock,
                window_s=window_s,
                tick_s=tick_s,
            )
            for index in range(self._layer.count())
        ]
        if not self._thread.is_alive():
            self._thread.start()

    def tick(self, rows: int = 1) -> None:
        """Read every GPU at the present moment; write once `rows` windows of GPUs have closed."""
        self._closed += [use for worker in self._workers for use in worker.tick()]
        if len(self._closed) >= rows:
            self.write()

    def write(self) -> None:
        """Hand on the windows that have closed."""
        if self._closed:
            self._pipeline.write(self._closed)
            self._closed = []

    def stop(self) -> None:
        """End the stream."""
        self._uplink.stop()
        self._thread.join()
        self.spool.close()

    def _hello(self) -> wire.Hello:
        config = self._config
        readings = [self._layer.device(i).read()[0].gpu for i in range(self._layer.count())]
        return wire.Hello(
            host=config.host,
            cluster=config.cluster,
            host_pool=config.pool,
            agent_version=__version__,
            driver_version=self._layer.open(),
            labels={"simulated": "true"},
            gpus=[wire_gpu(gpu) for gpu in readings],
        )


class Fleet:
    """All simulated agents, under one clock."""

    def __init__(self, hosts: Sequence[Host], begins: float, collector: str) -> None:
        self._clock = SimulatedClock(begins)
        self._agents = [SimulatedAgent(host, self._clock, collector) for host in hosts]

    def past(
        self,
        until: float,
        window_s: int,
        tick_s: float,
        told: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        """Live through history, up to `until` or `stop`; `told` hears the percentage done."""
        begins = self._clock.at
        for agent in self._agents:
            agent.start(window_s, tick_s)
        done = -1
        while self._clock.at <= until and not stop.is_set():
            for agent in self._agents:
                agent.tick(PAST_ROWS)
            percent = int(100 * (self._clock.at - begins) / max(until - begins, 1))
            if percent // 10 > done:
                done = percent // 10
                told(percent)
            self._clock.at += tick_s
        for agent in self._agents:
            agent.write()

    def sent(self) -> bool:
        """Whether the collector has committed everything so far."""
        return not any(agent.spool.state().batches for agent in self._agents)

    def live(self, stop: threading.Event) -> None:
        """Go on in real time until `stop`."""
        self._clock.at = time.time()
        for agent in self._agents:
            agent.start(LIVE_WINDOW_S, LIVE_TICK_S)
        while not stop.wait(LIVE_TICK_S - time.time() % LIVE_TICK_S):
            self._clock.at = time.time()
            for agent in self._agents:
                agent.tick()

    def stop(self) -> None:
        """End all streams."""
        for agent in self._agents:
            agent.stop()
