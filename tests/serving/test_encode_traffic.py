"""Traffic on the wire: exact, within a collector's limits, layouts once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.batch_builder import MAX_COUNTS, MAX_LAYOUTS
from gpuledger_agent.encode import batches, row_count, span
from gpuledger_agent.encode_traffic import MAX_FIGURE
from gpuledger_agent.records import Owner, Window
from gpuledger_agent.serving.delta import Served
from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.histogram import Histogram
from gpuledger_agent.serving.traffic import Traffic
from gpuledger_proto.v1 import telemetry_pb2 as wire

BASE = 1_700_006_400
DAY = 86_400
OWNER = Owner("search", "ranker-7b", "rank", "web", "production", "docker")
LATENCY = Histogram((100_000, 1_000_000), (5, 2, 1), 2_345)
TTFT = Histogram((1_000,), (0, 8), 99)


def row(start: int = BASE, **served: object) -> Traffic:
    return Traffic(
        Window(start, 10), OWNER, Kind.POD, "ml/ranker-0", "127.0.0.1:8000", "vllm", "llama", 9_500,
        Served(**served),  # type: ignore[arg-type]
    )  # fmt: skip


def test_row_when_encoded_then_every_column_says_what_it_said() -> None:
    counts = {
        Column.REQUESTS: 8, Column.ERRORS: 1, Column.PROMPT_TOKENS: 800,
        Column.GENERATED_TOKENS: 80,
    }  # fmt: skip
    gauges = {Column.RUNNING: 2.5, Column.WAITING: 0.0, Column.KV_CACHE: 42.4}
    histograms = {Column.LATENCY: LATENCY, Column.TTFT: TTFT}
    [batch] = batches((), (), [row(counts=counts, gauges=gauges, histograms=histograms)])
    c, text = batch.endpoint_traffic, batch.dictionary
    assert {name: text[getattr(c, name)[0]] for name in (
        "team", "model", "endpoint", "use_case", "pool", "owner_source", "workload_kind",
        "workload", "server", "server_kind", "served_model",
    )} == {
        "team": "search", "model": "ranker-7b", "endpoint": "rank", "use_case": "web",
        "pool": "production", "owner_source": "docker", "workload_kind": "pod",
        "workload": "ml/ranker-0", "server": "127.0.0.1:8000", "server_kind": "vllm",
        "served_model": "llama",
    }  # fmt: skip
    assert {name: list(getattr(c, name)) for name in (
        "window_start", "window_s", "observed_ms", "requests", "errors", "prompt_tokens",
        "generated_tokens", "running_ms", "running_max", "waiting_ms", "waiting_max",
        "kv_cache_pct_mean", "kv_cache_pct_max", "latency_layout", "latency_counts", "latency_ms",
        "ttft_layout", "ttft_counts", "ttft_ms", "offered",
    )} == {
        "window_start": [BASE], "window_s": [10], "observed_ms": [9_500], "requests": [8],
        "errors": [1], "prompt_tokens": [800], "generated_tokens": [80], "running_ms": [23_750],
        "running_max": [2], "waiting_ms": [0], "waiting_max": [0], "kv_cache_pct_mean": [42],
        "kv_cache_pct_max": [42], "latency_layout": [1], "latency_counts": [5, 2, 1],
        "latency_ms": [2_345], "ttft_layout": [2], "ttft_counts": [0, 8], "ttft_ms": [99],
        "offered": [127],
    }  # fmt: skip
    assert [list(layout.upto_us) for layout in batch.layouts] == [[], [100_000, 1_000_000], [1_000]]
    assert row_count(batch) == 1
    assert span(batch) == (BASE, BASE + 10)


def test_row_when_a_server_does_not_tell_a_column_then_it_is_not_offered() -> None:
    [batch] = batches((), (), [row(counts={Column.REQUESTS: 0}), row(gauges={Column.WAITING: 3})])
    c = batch.endpoint_traffic
    assert list(c.offered) == [wire.TRAFFIC_OFFER_REQUESTS, wire.TRAFFIC_OFFER_WAITING]
    assert list(c.latency_layout) == list(c.ttft_layout) == [0, 0]
    assert list(c.latency_counts) == list(c.ttft_counts) == []
    assert [list(layout.upto_us) for layout in batch.layouts] == [[]]


def test_figures_when_a_server_claims_too_much_then_they_are_as_high_as_may_be() -> None:
    huge = 1 << 60
    [batch] = batches((), (), [row(
        counts={Column.REQUESTS: huge, Column.PROMPT_TOKENS: huge},
        gauges={Column.RUNNING: 1e15, Column.KV_CACHE: 900.0},
        histograms={Column.LATENCY: Histogram((1,), (huge, 1), huge)},
    )])  # fmt: skip
    c = batch.endpoint_traffic
    assert c.requests[0] == c.prompt_tokens[0] == c.running_ms[0] == MAX_FIGURE
    assert list(c.latency_counts) == [MAX_FIGURE, 1]
    assert c.latency_ms[0] == MAX_FIGURE
    assert c.running_max[0] == (1 << 32) - 1
    assert c.kv_cache_pct_max[0] == 100


HISTOGRAMS = st.builds(
    lambda bounds, count: Histogram(tuple(sorted(bounds)), (count,) * (len(bounds) + 1)),
    st.sets(st.integers(1, 400), min_size=1, max_size=200),
    st.integers(0, 9),
)


@settings(max_examples=30, deadline=None)
@given(
    histograms=st.lists(HISTOGRAMS, min_size=1, max_size=6),
    rows=st.integers(1, 600),
    day=st.integers(0, 700),
)
def test_rows_when_they_are_many_then_batches_are_within_limits_and_nothing_is_lost(
    histograms: list[Histogram], rows: int, day: int
) -> None:
    made = [
        row(
            BASE + (DAY if n > day else 0) + 10 * n,
            counts={Column.REQUESTS: n},
            histograms={Column.LATENCY: histograms[n % len(histograms)], Column.TTFT: TTFT},
        )
        for n in range(rows)
    ]
    found: list[tuple[int, tuple[int, ...], list[int]]] = []
    for batch in batches((), (), made):
        c = batch.endpoint_traffic
        assert len({start // DAY for start in c.window_start}) == 1
        assert len(batch.layouts) <= MAX_LAYOUTS + 2
        assert len(c.latency_counts) + len(c.ttft_counts) <= MAX_COUNTS
        at = 0
        for requests, layout in zip(c.requests, c.latency_layout, strict=True):
            upto = tuple(batch.layouts[layout].upto_us)
            counts = list(c.latency_counts[at : at + len(upto) + 1])
            at += len(upto) + 1
            found.append((requests, upto, counts))
        assert at == len(c.latency_counts)
    assert found == [
        (n, one.upto_us, list(one.counts))
        for n, one in ((n, histograms[n % len(histograms)]) for n in range(rows))
    ]
