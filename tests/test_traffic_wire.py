"""Traffic on its way into the books: what a server counted arrives as it was cut, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_collector import histograms
from gpuledger_collector.columns import Source
from gpuledger_collector.packing import Message, Packed, pack
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.tables import MOST
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import WireAgent
from tests.traffic_fixture import EVERYTHING, LAYOUTS, NO_LIMIT, traffic

FULL = {
    "requests": 9,
    "errors": 2,
    "prompt_tokens": 900,
    "generated_tokens": 400,
    "running_ms": 25_000,
    "running_max": 4,
    "waiting_ms": 5_000,
    "waiting_max": 1,
    "kv_cache_pct_mean": 40,
    "kv_cache_pct_max": 55,
    "latency_layout": 1,
    "latency_counts": [3, 0, 4],
    "latency_ms": 4_321,
    "ttft_layout": 2,
    "ttft_counts": [6, 1],
    "ttft_ms": 987,
    "offered": EVERYTHING,
}


def packed(batch: wire.Batch) -> Packed:
    now = time.time()
    body = wire.AgentMessage(batch=batch).SerializeToString()
    return pack([Message(Source("", "h", ""), body, now)], (0.0, now))


def test_traffic_when_it_is_sent_then_figures_and_edges_are_in_the_books(
    collector: CollectorThread, client: Client
) -> None:
    with WireAgent(collector.address, "h1") as agent:
        agent.send(traffic(FULL, {"latency_layout": 2, "latency_counts": [5, 0], "offered": 1}))
        assert agent.acks(1) == [1]
    names = [name for name in FULL if not name.endswith(("_layout", "offered"))]
    columns = ", ".join(["host_pool", "team", "server", *names, "latency_buckets", "ttft_buckets"])
    rows = client.query(f"SELECT {columns} FROM endpoint_traffic ORDER BY server")
    first, second = rows.named_results()
    assert (first["host_pool"], first["team"], first["server"]) == (
        "prod",
        "search",
        "127.0.0.1:8000",
    )
    assert {name: first[name] for name in names} == {name: FULL[name] for name in names} | {
        "latency_counts": [3, 4]
    }
    edges = [tuple(bucket.values()) for bucket in first["latency_buckets"]]
    assert edges == [(0, 100_000), (500_000, NO_LIMIT)]
    assert second["requests"] == 0
    assert {second[name] for name in ("errors", "running_ms", "kv_cache_pct_max")} == {None}
    assert (second["latency_counts"], second["ttft_counts"]) == ([5], [])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda b: b.layouts[0].upto_us.append(5), "layouts: entry 0 must be empty"),
        (lambda b: b.layouts[1].upto_us.append(500_000), "layouts: entry 1 does not increase"),
        (lambda b: b.layouts[1].upto_us.insert(0, 0), "layouts: entry 1 does not increase"),
        (lambda b: b.layouts[1].upto_us.append(NO_LIMIT), "layouts: entry 1 does not increase"),
        (lambda b: b.layouts.add(), "layouts: entry 3 has 0 bounds; 1 to 200"),
        (
            lambda b: b.layouts.add(upto_us=range(1, 202)),
            "layouts: entry 3 has 201 bounds; 1 to 200",
        ),
        (
            lambda b: b.layouts.extend(wire.Buckets(upto_us=[1]) for _ in range(254)),
            "layouts: 257 entries; at most 256",
        ),
        (
            lambda b: b.endpoint_traffic.latency_layout.__setitem__(0, 3),
            "endpoint_traffic.latency_layout: an index beyond the layouts",
        ),
        (
            lambda b: b.endpoint_traffic.ttft_layout.append(0),
            "endpoint_traffic.ttft_layout: 2 values for 1 rows",
        ),
        (
            lambda b: b.endpoint_traffic.ttft_counts.append(0),
            "endpoint_traffic.ttft_counts: 3 values for 2 buckets",
        ),
        (
            lambda b: b.endpoint_traffic.latency_counts.extend([0] * 250_000),
            "endpoint_traffic.latency_counts: 250003 values; at most 250000 a batch",
        ),
    ],
)
def test_traffic_when_buckets_cannot_be_then_the_batch_is_refused_with_the_place(
    spoil: Callable[[wire.Batch], object], reason: str
) -> None:
    made = traffic(FULL)
    assert packed(made).verdicts[0].reason == ""
    spoil(made)
    [verdict] = packed(made).verdicts
    assert (verdict.rows, verdict.refused, verdict.reason) == (0, 1, reason)


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"errors": 10}, "errors is over requests"),
        ({"requests": MOST + 1}, f"requests is over {MOST}"),
        ({"running_ms": MOST + 1}, f"running_ms is over {MOST}"),
        ({"kv_cache_pct_max": 101}, "kv_cache_pct_max is over 100"),
        ({"latency_counts": [MOST, 0, 1]}, f"latency_counts add up to more than {MOST}"),
        ({"ttft_counts": [(1 << 64) - 1, 9]}, f"ttft_counts add up to more than {MOST}"),
    ],
)
def test_traffic_when_a_figure_cannot_be_then_its_row_is_refused_and_no_other(
    figures: dict[str, object], reason: str
) -> None:
    result = packed(traffic(FULL, FULL | figures, FULL))
    [verdict] = result.verdicts
    assert (verdict.rows, verdict.refused) == (2, 1)
    assert verdict.reason == f"endpoint_traffic row 1: {reason}"
    [insert] = result.inserts
    columns = dict(zip(insert.names, insert.columns, strict=True))
    assert list(columns["server"]) == ["127.0.0.1:8000", "127.0.0.1:8002"]
    assert list(columns["latency_counts"]) == [[3, 4], [3, 4]]


def test_traffic_when_the_most_is_counted_then_it_is_taken() -> None:
    figures = FULL | {"requests": MOST, "latency_counts": [MOST, 0, 0], "kv_cache_pct_max": 100}
    assert packed(traffic(figures)).verdicts[0].reason == ""


@given(
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=8).flatmap(
        lambda used: st.tuples(
            st.just(used),
            st.tuples(
                *[
                    st.lists(
                        st.integers(0, 3),
                        min_size=len(LAYOUTS[i]) + (i > 0),
                        max_size=len(LAYOUTS[i]) + (i > 0),
                    )
                    for i in used
                ]
            ),
        )
    )
)
def test_rows_when_layouts_differ_then_each_gets_its_own_counts_and_none_is_lost(
    sent: tuple[list[int], tuple[list[int], ...]],
) -> None:
    used, counts = sent
    known = histograms.layouts([wire.Buckets(upto_us=edges) for edges in LAYOUTS])
    flat = [count for row in counts for count in row]
    buckets, filled = histograms.by_row(used, flat, known, len(used))
    for index, row, edges, numbers in zip(used, counts, buckets, filled, strict=True):
        assert all(numbers)
        assert dict(zip(edges, numbers, strict=True)) == {
            edge: count for edge, count in zip(known[index], row, strict=True) if count
        }
