"""Traffic into columns."""

from __future__ import annotations

from gpuledger_agent.batch_builder import BatchBuilder
from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.histogram import Histogram
from gpuledger_agent.serving.traffic import Traffic
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_FIGURE = (1 << 40) - 1
"""A collector refuses a row with a higher one."""

_U32 = (1 << 32) - 1

_OFFERS = {
    Column.REQUESTS: wire.TRAFFIC_OFFER_REQUESTS,
    Column.ERRORS: wire.TRAFFIC_OFFER_ERRORS,
    Column.PROMPT_TOKENS: wire.TRAFFIC_OFFER_PROMPT_TOKENS,
    Column.GENERATED_TOKENS: wire.TRAFFIC_OFFER_GENERATED_TOKENS,
    Column.RUNNING: wire.TRAFFIC_OFFER_RUNNING,
    Column.WAITING: wire.TRAFFIC_OFFER_WAITING,
    Column.KV_CACHE: wire.TRAFFIC_OFFER_KV_CACHE,
}


def counts_of(row: Traffic) -> int:
    """Counts of histograms that this row has."""
    return sum(len(histogram.counts) for histogram in row.served.histograms.values())


def add_traffic(row: Traffic, to: BatchBuilder) -> None:
    """Add a row to the batch."""
    c, served = to.batch.endpoint_traffic, row.served
    to.count(row.window.start, counts_of(row))
    c.window_start.append(row.window.start)
    c.window_s.append(row.window.seconds)
    to.owner(c, row.owner, row.workload_kind, row.workload)
    c.server.append(to.text(row.server))
    c.server_kind.append(to.text(row.server_kind))
    c.served_model.append(to.text(row.served_model))
    c.observed_ms.append(row.observed_ms)
    c.requests.append(_figure(served.counts.get(Column.REQUESTS, 0)))
    c.errors.append(_figure(served.counts.get(Column.ERRORS, 0)))
    c.prompt_tokens.append(_figure(served.counts.get(Column.PROMPT_TOKENS, 0)))
    c.generated_tokens.append(_figure(served.counts.get(Column.GENERATED_TOKENS, 0)))
    for column, total, most in (
        (Column.RUNNING, c.running_ms, c.running_max),
        (Column.WAITING, c.waiting_ms, c.waiting_max),
    ):
        number = served.gauges.get(column, 0.0)
        total.append(_figure(number * row.observed_ms))
        most.append(min(round(number), _U32))
    kv_cache_pct = min(round(served.gauges.get(Column.KV_CACHE, 0.0)), 100)
    c.kv_cache_pct_mean.append(kv_cache_pct)
    c.kv_cache_pct_max.append(kv_cache_pct)
    latency = served.histograms.get(Column.LATENCY, _NONE)
    c.latency_layout.append(to.layout(latency.upto_us))
    c.latency_counts.extend(map(_figure, latency.counts))
    c.latency_ms.append(_figure(latency.sum_ms))
    ttft = served.histograms.get(Column.TTFT, _NONE)
    c.ttft_layout.append(to.layout(ttft.upto_us))
    c.ttft_counts.extend(map(_figure, ttft.counts))
    c.ttft_ms.append(_figure(ttft.sum_ms))
    has = served.counts.keys() | served.gauges.keys()
    c.offered.append(sum(bit for column, bit in _OFFERS.items() if column in has))


_NONE = Histogram((), ())


def _figure(value: float) -> int:
    return min(round(value), MAX_FIGURE)
