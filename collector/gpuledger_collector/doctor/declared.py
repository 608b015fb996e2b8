"""Whether what people declare is there: owners, prices, requests, objectives."""

from __future__ import annotations

from clickhouse_connect.driver.client import Client

from gpuledger_agent.check_result import Check, Verdict

UNATTRIBUTED = 0.10
"""Part of the allocated time without a team, from which on it is a warning."""

_SHARE = """
SELECT sum(held_ms + unheld_ms), sumIf(held_ms + unheld_ms, team = '')
FROM usage_hourly
WHERE hour >= now('UTC') - INTERVAL 1 DAY
"""

_UNPRICED = """
WITH (SELECT prices FROM gpu_price_list) AS prices
SELECT DISTINCT gpu_model
FROM fleet_seen AS f
WHERE arrayFirst(
    price -> price.priced_from <= now('UTC')
        AND price.pool IN ('', f.host_pool)
        AND (price.gpu_model = '' OR position(lowerUTF8(f.gpu_model), price.gpu_model) > 0),
    prices
).usd_per_gpu_hour IS NULL
ORDER BY gpu_model
"""

_DECLARED = """
SELECT (SELECT count() FROM requests_in_force), (SELECT count() FROM slo_list)
"""


def owners(client: Client) -> Check:
    """How much of the last day no team stands for."""
    [(allocated, ownerless)] = client.query(_SHARE).result_rows
    if not allocated:
        return Check(Verdict.OK, "owners", "nothing was allocated in the last day")
    share = ownerless / allocated
    text = f"{share:.0%} of the GPU time of the last day has no team"
    if share < UNATTRIBUTED:
        return Check(Verdict.OK, "owners", text)
    return Check(Verdict.WARN, "owners", text, "see unattributed_usage (docs/attribution.md)")


def prices(client: Client) -> Check:
    """Whether every GPU model that was ever seen has a price now, in all of its pools."""
    models = [model for (model,) in client.query(_UNPRICED).result_rows]
    if not models:
        return Check(Verdict.OK, "prices", "every GPU model has one")
    text = f"none for {', '.join(models)}"
    return Check(Verdict.WARN, "prices", text, "gpuledger prices apply FILE")


def requests(client: Client) -> Check:
    """Whether anybody asked for GPUs and said what endpoints must achieve."""
    [(asked, promised)] = client.query(_DECLARED).result_rows
    text = f"{asked} in force; {promised} objectives of endpoints"
    missing = [name for name, count in (("requests", asked), ("slos", promised)) if not count]
    if not missing:
        return Check(Verdict.OK, "requests", text)
    todo = ", ".join(f"gpuledger {name} apply FILE" for name in missing)
    return Check(Verdict.WARN, "requests", text, todo)
