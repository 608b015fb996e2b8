"""The tables of the wire: which columns they have, and what may stand in them."""

from __future__ import annotations

from dataclasses import dataclass, field

U8 = (1 << 8) - 1
U16 = (1 << 16) - 1
U32 = (1 << 32) - 1
U64 = (1 << 64) - 1

MOST = 1 << 40
"""More than any host can count, and so little that sums over a fleet stay in 64 bits."""


@dataclass(frozen=True, slots=True)
class Table:
    """A repeated-column message of `Batch` and the raw table it is stored in.

    `texts` hold indexes into the batch's dictionary. `numbers` map to the highest value that the
    column of ClickHouse takes. `enums` map to the number of values known to this version;
    higher ones, from newer agents, are stored as 0. `within_window` are times that cannot be longer
    than the window, `within_day` seconds that end on the UTC day on which they begin;
    `no_more_than` are pairs of which the first cannot exceed the second. Without windows a table
    has only `window_start` of them. `histograms` are stored as the buckets that are not empty
    (pairs of edges) and their counts, in the columns `bucket_columns`.
    """

    name: str
    texts: tuple[str, ...]
    numbers: dict[str, int]
    enums: dict[str, int]
    within_window: tuple[str, ...] = ()
    within_day: tuple[str, ...] = ()
    percents: tuple[str, ...] = ()
    no_more_than: tuple[tuple[str, str], ...] = ()
    has_host_pool: bool = True
    has_windows: bool = True
    histograms: tuple[str, ...] = ()
    columns: tuple[str, ...] = field(init=False)
    """All columns with one value a row, in the order in which they are read."""

    def __post_init__(self) -> None:
        scalars = (*self.times, *self.texts, *self.numbers, *self.enums)
        object.__setattr__(self, "columns", (*scalars, *self.bucket_columns))

    @property
    def bucket_columns(self) -> tuple[str, ...]:
        """Columns of the histograms: for each its buckets, then its counts."""
        return tuple(f"{name}_{part}" for name in self.histograms for part in ("buckets", "counts"))

    @property
    def raw(self) -> str:
        """Name of the raw table."""
        return f"{self.name}_raw"

    @property
    def times(self) -> tuple[str, ...]:
        """The columns that say when."""
        return ("window_start", "window_s") if self.has_windows else ("window_start",)


_OWNER = ("team", "model", "endpoint", "use_case", "pool", "workload_kind", "workload")

PROCESS_USAGE = Table(
    name="process_usage",
    texts=("gpu", "gpu_model", "process_name", "user", *_OWNER, "owner_source"),
    numbers={
        "pid": U32,
        "process_start": U32,
        "present_ms": U32,
        "held_ms": U32,
        "sm_busy_ms": U32,
        "sm_pct_max": U8,
        "mem_mib_mean": U32,
        "mem_mib_max": U32,
    },
    enums={"context": 4, "sm_source": 6, "mem_source": 3},
    within_window=("present_ms", "held_ms"),
    percents=("sm_pct_max",),
    no_more_than=(("sm_busy_ms", "held_ms"), ("mem_mib_mean", "mem_mib_max")),
)

GPU_USAGE = Table(
    name="gpu_usage",
    texts=("gpu", "gpu_model"),
    numbers={
        "gpu_index": U16,
        "observed_ms": U32,
        "unallocated_ms": U32,
        "sm_busy_ms": U32,
        "sm_pct_max": U8,
        "mem_mib_mean": U32,
        "mem_mib_max": U32,
        "mem_total_mib": U32,
        "power_w_mean": U16,
        "power_w_max": U16,
        "temperature_c_max": U16,
        "sm_clock_mhz_mean": U16,
        "tensor_pct_mean": U8,
        "dram_pct_mean": U8,
        "ecc_uncorrected": U32,
        "xid": U16,
        "offered": U16,
    },
    enums={"sm_source": 6},
    within_window=("observed_ms",),
    percents=("sm_pct_max", "tensor_pct_mean", "dram_pct_mean"),
    no_more_than=(("unallocated_ms", "observed_ms"), ("sm_busy_ms", "observed_ms")),
)

GPU_ALLOCATION = Table(
    name="gpu_allocation",
    texts=("gpu", "gpu_model", *_OWNER, "owner_source", "grant_source"),
    numbers={"granted_ms": U32, "unheld_ms": U32, "share_milli": U16},
    enums={},
    within_window=("granted_ms",),
    no_more_than=(("unheld_ms", "granted_ms"),),
)

AGENT_HEALTH = Table(
    name="agent_health",
    texts=("agent_version",),
    numbers={
        "ticks": U32,
        "ticks_missed": U32,
        "tick_ms_max": U32,
        "gpus": U32,
        "gpus_failed": U32,
        "processes": U32,
        "processes_unattributed": U32,
        "spool_batches": U32,
        "spool_bytes": MOST,
        "rows_dropped": MOST,
        "rows_refused": MOST,
        "cpu_ms": U32,
        "rss_mib": U32,
        "clock_step_ms": U32,
    },
    enums={},
    has_host_pool=False,
)

TELEMETRY_GAPS = Table(
    name="telemetry_gaps",
    texts=(),
    numbers={"gap_s": U32, "rows": MOST},
    enums={"reason": 7},
    within_day=("gap_s",),
    has_host_pool=False,
    has_windows=False,
)

ENDPOINT_TRAFFIC = Table(
    name="endpoint_traffic",
    texts=(*_OWNER, "owner_source", "server", "server_kind", "served_model"),
    numbers={
        "observed_ms": U32,
        "requests": MOST,
        "errors": MOST,
        "prompt_tokens": MOST,
        "generated_tokens": MOST,
        "running_ms": MOST,
        "running_max": U32,
        "waiting_ms": MOST,
        "waiting_max": U32,
        "kv_cache_pct_mean": U8,
        "kv_cache_pct_max": U8,
        "latency_ms": MOST,
        "ttft_ms": MOST,
        "offered": U16,
    },
    enums={},
    within_window=("observed_ms",),
    percents=("kv_cache_pct_mean", "kv_cache_pct_max"),
    no_more_than=(("errors", "requests"),),
    histograms=("latency", "ttft"),
)

TABLES = (
    *(PROCESS_USAGE, GPU_USAGE, GPU_ALLOCATION),
    *(AGENT_HEALTH, TELEMETRY_GAPS, ENDPOINT_TRAFFIC),
)
"""In the order in which they are written."""
