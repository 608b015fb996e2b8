"""Rows into batches that any collector takes: within its limits, nothing lost, in order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.batch_builder import MAX_DICTIONARY, MAX_ROWS, MAX_STRING_BYTES
from gpuledger_agent.devices.base import Context, GpuInfo, SmSource
from gpuledger_agent.encode import (
    OwnedGpu,
    OwnedProcess,
    batches,
    row_count,
)
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessKey, ProcessUse, Window
from gpuledger_collector import validate
from gpuledger_collector.tables import TABLES
from gpuledger_collector.validate import problems, read_batch
from gpuledger_proto.v1 import telemetry_pb2 as wire

DAY = 86_400
BASE = 1_700_006_400
"""Midnight, seconds since the epoch."""

GPU = OwnedGpu(
    GpuUse(
        window=Window(BASE, 10),
        gpu=GpuInfo("GPU-1", 3, "H100", 81_559),
        observed_ms=10_000,
        held_ms=7_000,
        sm_busy_ms=4_000,
        sm_pct_max=97,
        sm_source=SmSource.DEVICE,
        mem_mib_mean=40_000,
        mem_mib_max=50_000,
        power_w_mean=300,
        power_w_max=401,
        temperature_c_max=66,
        sm_clock_mhz_mean=1_755,
        tensor_pct_mean=12,
        dram_pct_mean=34,
        ecc_uncorrected=1,
        xid=48,
        processes=(),
    ),
    (),
)
PROCESS = OwnedProcess(
    ProcessUse(
        key=ProcessKey(4242, BASE - 100),
        context=Context.MPS,
        present_ms=10_000,
        held_ms=7_000,
        sm_busy_ms=4_000,
        sm_pct_max=98,
        sm_source=SmSource.PROCESS,
        mem_mib_mean=39_000,
        mem_mib_max=49_000,
    ),
    "python3",
    "ann",
    Owner("search", "ranker", "rank", "ads", "prod", "environment"),
    "container",
    "ranker-0",
)
HEALTH = HealthRow(Window(BASE, 10), 80, 2, 31, 8, 1, 12, 3, 5, 1 << 40, 7, 9, 110, 48, 600, "0.1")


def with_processes(gpu: OwnedGpu, *processes: OwnedProcess, start: int = BASE) -> OwnedGpu:
    return OwnedGpu(replace(gpu.use, window=Window(start, 10)), processes)


def decoded(made: Iterable[wire.Batch]) -> dict[str, list[dict[str, Any]]]:
    """All rows by table as a collector reads them, each accepted, each batch within limits."""
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in TABLES}
    for batch in made:
        assert 0 < row_count(batch) <= MAX_ROWS <= validate.MAX_ROWS
        assert len(batch.dictionary) <= MAX_DICTIONARY <= validate.MAX_DICTIONARY
        assert wire.AgentMessage(batch=batch).ByteSize() <= validate.MAX_BYTES
        read = read_batch(wire.Batch.FromString(batch.SerializeToString()))
        assert read.count == row_count(batch)
        for part in read.rows:
            columns = dict(zip(part.table.columns, part.columns, strict=True))
            assert not list(problems(part.table, columns, (0.0, BASE + 9 * DAY)))
            rows[part.table.name] += [
                {name: columns[name][row] for name in columns} for row in range(part.count)
            ]
    return rows


def test_row_when_encoded_then_every_figure_stands_in_its_column() -> None:
    told = decoded(batches([with_processes(GPU, PROCESS)], [HEALTH]))
    assert told["process_usage"] == [
        {"window_start": BASE, "window_s": 10, "gpu": "GPU-1", "gpu_model": "H100", "pid": 4242,
         "process_start": BASE - 100, "process_name": "python3", "user": "ann", "team": "search",
         "model": "ranker", "endpoint": "rank", "use_case": "ads", "pool": "prod",
         "workload_kind": "container", "workload": "ranker-0", "owner_source": "environment",
         "context": wire.CONTEXT_MPS, "present_ms": 10_000, "held_ms": 7_000, "sm_busy_ms": 4_000,
         "sm_pct_max": 98, "sm_source": wire.SM_SOURCE_PROCESS, "mem_mib_mean": 39_000,
         "mem_mib_max": 49_000, "mem_source": wire.MEM_SOURCE_DRIVER}
    ]  # fmt: skip
    assert told["gpu_usage"] == [
        {"window_start": BASE, "window_s": 10, "gpu": "GPU-1", "gpu_model": "H100", "gpu_index": 3,
         "observed_ms": 10_000, "unallocated_ms": 3_000, "sm_busy_ms": 4_000, "sm_pct_max": 97,
         "sm_source": wire.SM_SOURCE_DEVICE, "mem_mib_mean": 40_000, "mem_mib_max": 50_000,
         "mem_total_mib": 81_559, "power_w_mean": 300, "power_w_max": 401, "temperature_c_max": 66,
         "sm_clock_mhz_mean": 1_755, "tensor_pct_mean": 12, "dram_pct_mean": 34,
         "ecc_uncorrected": 1, "xid": 48, "offered": 63}
    ]  # fmt: skip
    assert told["agent_health"] == [
        {"window_start": BASE, "window_s": 10, "ticks": 80, "ticks_missed": 2, "tick_ms_max": 31,
         "gpus": 8, "gpus_failed": 1, "processes": 12, "processes_unattributed": 3,
         "spool_batches": 5, "spool_bytes": 1 << 40, "rows_dropped": 7, "rows_refused": 9,
         "cpu_ms": 110, "rss_mib": 48, "clock_step_ms": 600, "agent_version": "0.1"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gauge", "offer"),
    [
        ("mem_mib_mean", wire.GPU_OFFER_MEMORY),
        ("power_w_mean", wire.GPU_OFFER_POWER),
        ("temperature_c_max", wire.GPU_OFFER_TEMPERATURE),
        ("sm_clock_mhz_mean", wire.GPU_OFFER_CLOCK),
        ("tensor_pct_mean", wire.GPU_OFFER_GPM),
        ("ecc_uncorrected", wire.GPU_OFFER_ECC),
    ],
)
def test_gauge_when_not_offered_then_it_is_zero_and_said_to_mean_nothing(
    gauge: str, offer: int
) -> None:
    def row(value: int | None) -> dict[str, Any]:
        use = replace(GPU.use, **{gauge: value})
        return decoded(batches([OwnedGpu(use, ())]))["gpu_usage"][0]

    assert (row(0)[gauge], row(0)["offered"]) == (0, 63)
    assert (row(None)[gauge], row(None)["offered"]) == (0, 63 - offer)


def test_memory_when_the_driver_does_not_say_then_its_source_is_unknown() -> None:
    unsaid = replace(PROCESS, use=replace(PROCESS.use, mem_mib_mean=None, mem_mib_max=None))
    [row] = decoded(batches([with_processes(GPU, unsaid)]))["process_usage"]
    assert (row["mem_mib_max"], row["mem_source"]) == (0, wire.MEM_SOURCE_UNKNOWN)


@pytest.mark.parametrize("absurd", [1 << 16, (1 << 32) - 1, (1 << 64) - 1])
@pytest.mark.parametrize(
    "gauge",
    ["power_w_mean", "power_w_max", "temperature_c_max", "sm_clock_mhz_mean", "ecc_uncorrected",
     "xid", "mem_mib_max", "tensor_pct_mean"],
)  # fmt: skip
def test_gauge_when_a_driver_tells_nonsense_then_the_row_is_not_lost_for_it(
    gauge: str, absurd: int
) -> None:
    use = replace(GPU.use, **{gauge: absurd})
    assert len(decoded(batches([OwnedGpu(use, ())]))["gpu_usage"]) == 1


def test_windows_when_of_two_days_then_no_batch_holds_both() -> None:
    starts = [BASE - 10, BASE, BASE - 20, BASE + DAY - 10, BASE + DAY]
    made = list(batches([with_processes(GPU, PROCESS, start=s) for s in starts]))
    days = [{s // DAY for s in batch.gpu_usage.window_start} for batch in made]
    assert days == [{BASE // DAY - n} for n in (1, 0, 1, 0, -1)]
    rows = decoded(made)
    assert [row["window_start"] for row in rows["gpu_usage"]] == starts
    assert [row["window_start"] for row in rows["process_usage"]] == starts


def test_rows_when_many_then_batches_are_full_and_no_fuller() -> None:
    processes = [
        replace(PROCESS, use=replace(PROCESS.use, key=ProcessKey(n, 1))) for n in range(12_000)
    ]
    made = list(batches([with_processes(GPU, *processes)]))
    assert [row_count(batch) for batch in made] == [MAX_ROWS, MAX_ROWS, 2001]
    assert [row["pid"] for row in decoded(made)["process_usage"]] == list(range(12_000))


def test_texts_when_all_differ_and_are_long_then_dictionary_and_message_stay_within_limits() -> (
    None
):
    def strange(n: int) -> OwnedProcess:
        text = [f"{n}-{field}-".ljust(300, "ü") for field in range(10)]
        return replace(PROCESS, name=text[0], user=text[1], owner=Owner(*text[2:8]),
                       workload_kind=text[8], workload=text[9])  # fmt: skip

    strangers = [strange(n) for n in range(1_000)]
    many = [replace(strange(n % 300), user="") for n in range(9_000)]
    told = decoded(batches([with_processes(GPU, *strangers), with_processes(GPU, *many)]))
    assert len(told["process_usage"]) == 10_000


texts = st.text(st.characters(exclude_categories=()), max_size=300)


@settings(deadline=None)
@given(texts)
def test_text_whatever_it_is_then_it_is_cut_at_a_character_and_nowhere_else(text: str) -> None:
    [row] = decoded(batches([with_processes(GPU, replace(PROCESS, name=text))]))["process_usage"]
    told = row["process_name"]
    assert len(told.encode()) <= MAX_STRING_BYTES
    assert "\0" not in told
    expected = "".join("�" if c == "\0" else "?" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert expected.startswith(told)
    if told != expected:
        assert len(expected[: len(told) + 1].encode()) > MAX_STRING_BYTES


def random_rows(rng: random.Random) -> tuple[Sequence[OwnedGpu], Sequence[HealthRow]]:
    """Many rows with few or many texts, some windows of other days."""
    spread = rng.choice([1, 10, 100_000])

    def text() -> str:
        return f"{rng.randrange(spread)}{'é' * rng.randrange(0, 200)}" if rng.random() < 0.5 else ""

    def own(pid: int) -> OwnedProcess:
        busy = rng.randrange(4_000)
        use = replace(PROCESS.use, key=ProcessKey(pid, rng.randrange(BASE)), sm_busy_ms=busy)
        return OwnedProcess(use, text(), text(), Owner(*(text() for _ in range(6))), "pod", text())

    starts = [BASE + rng.choice([0, 0, 0, 1, -1]) * DAY + rng.randrange(6) * 10 for _ in range(8)]
    gpus = [
        with_processes(GPU, *map(own, range(rng.choice([0, 1, 40, 1500]))), start=start)
        for start in starts[: rng.randrange(9)]
    ]
    health = [replace(HEALTH, window=Window(start, 10)) for start in starts[: rng.randrange(9)]]
    return gpus, health


@settings(deadline=None, max_examples=15)
@given(st.integers())
def test_rows_whatever_they_are_then_none_is_lost_doubled_or_out_of_order(seed: int) -> None:
    gpus, health = random_rows(random.Random(seed))
    told = decoded(batches(gpus, health))
    assert [row["window_start"] for row in told["gpu_usage"]] == [g.use.window.start for g in gpus]
    assert [row["window_start"] for row in told["agent_health"]] == [r.window.start for r in health]
    sent = [
        (gpu.use.window.start, p.use.key.pid, p.use.key.start, p.use.sm_busy_ms,
         *(fit(t) for t in (p.name, p.user, p.owner.team, p.owner.source, p.workload)))
        for gpu in gpus for p in gpu.processes
    ]  # fmt: skip
    names = ("window_start", "pid", "process_start", "sm_busy_ms", "process_name", "user", "team",
             "owner_source", "workload")  # fmt: skip
    assert [tuple(row[name] for name in names) for row in told["process_usage"]] == sent


def fit(text: str) -> str:
    return text.encode()[:MAX_STRING_BYTES].decode(errors="ignore")


def test_batches_when_there_is_nothing_then_there_is_none() -> None:
    assert list(batches([], [])) == []
