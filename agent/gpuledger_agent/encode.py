"""Rows into columns: closed windows become Batch messages of the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessUse
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_ROWS = 5_000
"""Rows per batch; far under what a collector accepts, so that a batch stays a small message."""

MAX_DICTIONARY = 4_000
"""Strings per batch; a collector accepts 4,096."""

MAX_STRING_BYTES = 256
"""Bytes of one string on the wire; longer ones are cut at a character."""

DAY_S = 86_400

_STRINGS_PER_ROW = 12
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


class _Builder:
    """One batch under construction."""

    def __init__(self) -> None:
        self.batch = wire.Batch(dictionary=[""])
        self.rows = 0
        self.day: int | None = None
        self._index = {"": 0}

    def text(self, value: str) -> int:
        """Index of a string in the batch's dictionary."""
        index = self._index.get(value)
        if index is None:
            index = self._index[value] = len(self._index)
            self.batch.dictionary.append(_fit(value))
        return index

    def takes(self, start: int, rows: int) -> bool:
        """Whether so many more rows of a window fit in."""
        return self.rows == 0 or (
            self.day == start // DAY_S
            and self.rows + rows <= MAX_ROWS
            and len(self._index) + rows * _STRINGS_PER_ROW <= MAX_DICTIONARY
        )

    def count(self, start: int) -> None:
        self.day = start // DAY_S
        self.rows += 1


def batches(gpus: Iterable[OwnedGpu], health: Iterable[HealthRow] = ()) -> Iterator[wire.Batch]:
    """Batches that together hold these rows; each within one UTC day and within the limits."""
    builder = _Builder()
    for gpu in gpus:
        start = gpu.use.window.start
        if not builder.takes(start, 1):
            yield builder.batch
            builder = _Builder()
        _add_gpu(builder, gpu)
        for process in gpu.processes:
            if not builder.takes(start, 1):
                yield builder.batch
                builder = _Builder()
            _add_process(builder, gpu.use, process)
        for grant in gpu.grants:
            if not builder.takes(start, 1):
                yield builder.batch
                builder = _Builder()
            _add_grant(builder, gpu.use, grant)
    for row in health:
        if not builder.takes(row.window.start, 1):
            yield builder.batch
            builder = _Builder()
        _add_health(builder, row)
    if builder.rows:
        yield builder.batch


def row_count(batch: wire.Batch) -> int:
    """Rows of a batch over all its tables."""
    return (
        len(batch.process_usage.window_start)
        + len(batch.gpu_usage.window_start)
        + len(batch.gpu_allocation.window_start)
        + len(batch.agent_health.window_start)
        + len(batch.telemetry_gaps.window_start)
    )


def span(batch: wire.Batch) -> tuple[int, int] | None:
    """From where to where its windows and gaps reach, seconds since the epoch; None without any."""
    tables = (
        (batch.process_usage.window_start, batch.process_usage.window_s),
        (batch.gpu_usage.window_start, batch.gpu_usage.window_s),
        (batch.gpu_allocation.window_start, batch.gpu_allocation.window_s),
        (batch.agent_health.window_start, batch.agent_health.window_s),
        (batch.telemetry_gaps.window_start, batch.telemetry_gaps.gap_s),
    )
    present = [(starts, lengths) for starts, lengths in tables if starts]
    if not present:
        return None
    first = min(min(starts) for starts, _ in present)
    last = max(max(starts) + max(lengths, default=0) for starts, lengths in present)
    return first, last


def _fit(value: str) -> str:
    # A NUL would cost the whole batch.
    encoded = value.replace("\0", "\ufffd").encode("utf-8", "replace")
    return encoded[:MAX_STRING_BYTES].decode("utf-8", "ignore")


def _figure(value: int | None, highest: int = _U32) -> int:
    """A figure as its column takes it: a driver's nonsense must not cost the whole row."""
    return min(value or 0, highest)


def _add_process(to: _Builder, gpu: GpuUse, row: OwnedProcess) -> None:
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
    _add_owner(to, c, owner, row.workload_kind, row.workload)
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


def _add_grant(to: _Builder, gpu: GpuUse, row: OwnedGrant) -> None:
    c = to.batch.gpu_allocation
    to.count(gpu.window.start)
    c.window_start.append(gpu.window.start)
    c.window_s.append(gpu.window.seconds)
    c.gpu.append(to.text(gpu.gpu.uuid))
    c.gpu_model.append(to.text(gpu.gpu.model))
    _add_owner(to, c, row.owner, row.workload_kind, row.workload)
    c.grant_source.append(to.text(row.source))
    c.share_milli.append(row.share_milli)
    c.granted_ms.append(row.granted_ms)
    c.unheld_ms.append(row.unheld_ms)


def _add_owner(
    to: _Builder,
    columns: wire.ProcessUsage | wire.GpuAllocation,
    owner: Owner,
    kind: str,
    workload: str,
) -> None:
    columns.team.append(to.text(owner.team))
    columns.model.append(to.text(owner.model))
    columns.endpoint.append(to.text(owner.endpoint))
    columns.use_case.append(to.text(owner.use_case))
    columns.pool.append(to.text(owner.pool))
    columns.workload_kind.append(to.text(kind))
    columns.workload.append(to.text(workload))
    columns.owner_source.append(to.text(owner.source))


def _add_gpu(to: _Builder, gpu: OwnedGpu) -> None:
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


def _add_health(to: _Builder, row: HealthRow) -> None:
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
