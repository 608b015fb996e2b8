"""Rows into columns: closed windows become Batch messages of the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from gpuledger_agent.batch_builder import BatchBuilder
from gpuledger_agent.encode_traffic import add_traffic, counts_of
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessUse
from gpuledger_agent.serving.traffic import Traffic
from gpuledger_proto.v1 import telemetry_pb2 as wire

_U16 = (1 << 16) - 1
_U32 = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class OwnedProcess:
    """A process row with what attribution found out about it."""

    use: ProcessUse
    name: str
    user: str
    owner: Owner
    workload_kind: str
    workload: str


@dataclass(frozen=True, slots=True)
class OwnedGrant:
    """A workload that was granted the GPU, whether or not it ran there.

    `source` granted it. `share_milli` is the part of the GPU in thousandths; the times are
    milliseconds of a whole physical GPU.
    """

    owner: Owner
    workload_kind: str
    workload: str
    source: str
    share_milli: int
    granted_ms: int
    unheld_ms: int


@dataclass(frozen=True, slots=True)
class OwnedGpu:
    """A GPU row with its attributed processes and grants."""

    use: GpuUse
    processes: tuple[OwnedProcess, ...]
    grants: tuple[OwnedGrant, ...] = ()

    @property
    def unallocated_ms(self) -> int:
        """Observed time in which nobody held the GPU and nobody was granted it."""
        return self.use.observed_ms - self.use.held_ms - sum(g.unheld_ms for g in self.grants)


def batches(
    gpus: Iterable[OwnedGpu],
    health: Iterable[HealthRow] = (),
    traffic: Iterable[Traffic] = (),
) -> Iterator[wire.Batch]:
    """Batches that together hold these rows; each within one UTC day and within the limits."""
    builder = BatchBuilder()
    for start, counts, add in _rows(gpus, health, traffic):
        if not builder.takes(start, 1, counts):
            yield builder.batch
            builder = BatchBuilder()
        add(builder)
    if builder.rows:
        yield builder.batch


_Row = tuple[int, int, Callable[[BatchBuilder], None]]
"""Start of its window, how many counts of histograms it has, and what adds it to a batch."""


def _rows(
    gpus: Iterable[OwnedGpu], health: Iterable[HealthRow], traffic: Iterable[Traffic]
) -> Iterator[_Row]:
    for gpu in gpus:
        use = gpu.use
        yield use.window.start, 0, partial(_add_gpu, gpu)
        for process in gpu.processes:
            yield use.window.start, 0, partial(_add_process, use, process)
        for grant in gpu.grants:
            yield use.window.start, 0, partial(_add_grant, use, grant)
    for row in health:
        yield row.window.start, 0, partial(_add_health, row)
    for served in traffic:
        yield served.window.start, counts_of(served), partial(add_traffic, served)


def row_count(batch: wire.Batch) -> int:
    """Rows of a batch over all its tables."""
    return (
        len(batch.process_usage.window_start)
        + len(batch.gpu_usage.window_start)
        + len(batch.gpu_allocation.window_start)
        + len(batch.agent_health.window_start)
        + len(batch.telemetry_gaps.window_start)
        + len(batch.endpoint_traffic.window_start)
    )


def span(batch: wire.Batch) -> tuple[int, int] | None:
    """From where to where its windows and gaps reach, seconds since the epoch; None without any."""
    tables = (
        (batch.process_usage.window_start, batch.process_usage.window_s),
        (batch.gpu_usage.window_start, batch.gpu_usage.window_s),
        (batch.gpu_allocation.window_start, batch.gpu_allocation.window_s),
        (batch.agent_health.window_start, batch.agent_health.window_s),
        (batch.telemetry_gaps.window_start, batch.telemetry_gaps.gap_s),
        (batch.endpoint_traffic.window_start, batch.endpoint_traffic.window_s),
    )
    present = [(starts, lengths) for starts, lengths in tables if starts]
    if not present:
        return None
    first = min(min(starts) for starts, _ in present)
    last = max(max(starts) + max(lengths, default=0) for starts, lengths in present)
    return first, last


def _figure(value: int | None, highest: int = _U32) -> int:
    """A figure as its column takes it: a driver's nonsense must not cost the whole row."""
    return min(value or 0, highest)


def _add_process(gpu: GpuUse, row: OwnedProcess, to: BatchBuilder) -> None:
    c, use, owner = to.batch.process_usage, row.use, row.owner
    to.count(gpu.window.start)
    c.window_start.append(gpu.window.start)
    c.window_s.append(gpu.window.seconds)
    c.gpu.append(to.text(gpu.gpu.uuid))
    c.gpu_model.append(to.text(gpu.gpu.model))
    c.pid.append(use.key.pid)
    c.process_start.append(use.key.start)
    c.process_name.append(to.text(row.name))
    c.user.append(to.text(row.user))
    to.owner(c, owner, row.workload_kind, row.workload)
    c.context.append(wire.Context.ValueType(use.context))
    c.present_ms.append(use.present_ms)
    c.held_ms.append(use.held_ms)
    c.sm_busy_ms.append(use.sm_busy_ms)
    c.sm_pct_max.append(use.sm_pct_max)
    c.sm_source.append(wire.SmSource.ValueType(use.sm_source))
    c.mem_mib_mean.append(_figure(use.mem_mib_mean))
    c.mem_mib_max.append(_figure(use.mem_mib_max))
    c.mem_source.append(
        wire.MEM_SOURCE_UNKNOWN if use.mem_mib_mean is None else wire.MEM_SOURCE_DRIVER
    )


def _add_grant(gpu: GpuUse, row: OwnedGrant, to: BatchBuilder) -> None:
    c = to.batch.gpu_allocation
    to.count(gpu.window.start)
    c.window_start.append(gpu.window.start)
    c.window_s.append(gpu.window.seconds)
    c.gpu.append(to.text(gpu.gpu.uuid))
    c.gpu_model.append(to.text(gpu.gpu.model))
    to.owner(c, row.owner, row.workload_kind, row.workload)
    c.grant_source.append(to.text(row.source))
    c.share_milli.append(row.share_milli)
    c.granted_ms.append(row.granted_ms)
    c.unheld_ms.append(row.unheld_ms)


def _add_gpu(gpu: OwnedGpu, to: BatchBuilder) -> None:
    c, use = to.batch.gpu_usage, gpu.use
    to.count(use.window.start)
    c.window_start.append(use.window.start)
    c.window_s.append(use.window.seconds)
    c.gpu.append(to.text(use.gpu.uuid))
    c.gpu_model.append(to.text(use.gpu.model))
    c.gpu_index.append(use.gpu.index)
    c.observed_ms.append(use.observed_ms)
    c.unallocated_ms.append(gpu.unallocated_ms)
    c.sm_busy_ms.append(use.sm_busy_ms)
    c.sm_pct_max.append(use.sm_pct_max)
    c.sm_source.append(wire.SmSource.ValueType(use.sm_source))
    c.mem_mib_mean.append(_figure(use.mem_mib_mean))
    c.mem_mib_max.append(_figure(use.mem_mib_max))
    c.mem_total_mib.append(_figure(use.gpu.memory_mib))
    c.power_w_mean.append(_figure(use.power_w_mean, _U16))
    c.power_w_max.append(_figure(use.power_w_max, _U16))
    c.temperature_c_max.append(_figure(use.temperature_c_max, _U16))
    c.sm_clock_mhz_mean.append(_figure(use.sm_clock_mhz_mean, _U16))
    c.tensor_pct_mean.append(_figure(use.tensor_pct_mean, 100))
    c.dram_pct_mean.append(_figure(use.dram_pct_mean, 100))
    c.ecc_uncorrected.append(_figure(use.ecc_uncorrected))
    c.xid.append(_figure(use.xid, _U16))
    c.offered.append(_offered(use))


def _offered(use: GpuUse) -> int:
    """Which gauges the GPU offers, as the sum of GpuOffer bits."""
    offers = (
        (use.mem_mib_mean, wire.GPU_OFFER_MEMORY),
        (use.power_w_mean, wire.GPU_OFFER_POWER),
        (use.temperature_c_max, wire.GPU_OFFER_TEMPERATURE),
        (use.sm_clock_mhz_mean, wire.GPU_OFFER_CLOCK),
        (use.tensor_pct_mean, wire.GPU_OFFER_GPM),
        (use.ecc_uncorrected, wire.GPU_OFFER_ECC),
    )
    return sum(bit for value, bit in offers if value is not None)


def _add_health(row: HealthRow, to: BatchBuilder) -> None:
    c = to.batch.agent_health
    to.count(row.window.start)
    c.window_start.append(row.window.start)
    c.window_s.append(row.window.seconds)
    c.ticks.append(row.ticks)
    c.ticks_missed.append(row.ticks_missed)
    c.tick_ms_max.append(row.tick_ms_max)
    c.gpus.append(row.gpus)
    c.gpus_failed.append(row.gpus_failed)
    c.processes.append(row.processes)
    c.processes_unattributed.append(row.processes_unattributed)
    c.spool_batches.append(row.spool_batches)
    c.spool_bytes.append(row.spool_bytes)
    c.rows_dropped.append(row.rows_dropped)
    c.rows_refused.append(row.rows_refused)
    c.cpu_ms.append(row.cpu_ms)
    c.rss_mib.append(row.rss_mib)
    c.clock_step_ms.append(row.clock_step_ms)
    c.agent_version.append(to.text(row.agent_version))
