"""What the demo shows: a query on the public views each, and a sentence made of its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client
from rich.console import Console

from gpuledger_collector.output import table

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """A heading, the question in SQL, and how its answer (at least one row) reads in words."""

    heading: str
    sql: str
    caption: Callable[[Sequence[Row]], str]


def tell(client: Client, console: Console) -> None:
    """Print every story."""
    for story in STORIES:
        result = client.query(story.sql)
        rows = list(result.named_results())
        console.print()
        console.print(story.heading, style="bold", markup=False, highlight=False)
        if not rows:
            console.print("nothing of the kind", highlight=False)
            continue
        console.print(story.caption(rows), markup=False, highlight=False)
        console.print(table(result.column_names, result.result_rows, console))


def _balance(rows: Sequence[Row]) -> str:
    capacity = sum(row["capacity"] for row in rows)
    difference = sum(row["difference"] for row in rows)
    return (
        f"{capacity:,.1f} GPU-hours were observed. What was held and what was free add up to"
        f" them: difference {abs(difference):.3f}."
    )


def _waste(rows: Sequence[Row]) -> str:
    worst = rows[0]
    share = 100 * worst["waste"] / max(worst["requested"], worst["allocated"], 1e-9)
    return (
        f"{worst['team']} wastes most: {share:.0f} % of {worst['requested']:,.0f} requested"
        f" GPU-hours, worth {worst['usd']:,.0f} USD."
    )


def _review(rows: Sequence[Row]) -> str:
    first = rows[0]
    return (
        f"{first['team']} asked for {first['requested']:g} GPUs, holds {first['held_p95']:g},"
        f" and used {first['used_p95']:g} at its p95: {first['reclaim']:g} could be given back."
    )


def _swing(rows: Sequence[Row]) -> str:
    first = rows[0]
    return (
        f"{first['model']} swings between {first['mem_min'] / 1024:.0f} and"
        f" {first['mem_max'] / 1024:.0f} GiB; its median alone ({first['mem_p50'] / 1024:.0f} GiB)"
        " would have sized it wrong."
    )


def _idle(rows: Sequence[Row]) -> str:
    gpus = sum(row["gpus"] for row in rows)
    never = sum(row["gpus"] for row in rows if row["ever_worked"] == "no")
    return f"{gpus} GPUs are held and do nothing now; {never} of them never did anything."


def _isolation(rows: Sequence[Row]) -> str:
    hosts = sorted({row["host"] for row in rows})
    teams = sorted({team for row in rows for team in row["teams"].split(", ")})
    return f"{', '.join(teams)} runs on {', '.join(hosts)}, which belongs to another pool."


def _consolidation(rows: Sequence[Row]) -> str:
    first = rows[0]
    return (
        f"{len(rows)} small models take {first['all_now']:g} GPUs and would fit on"
        f" {first['all_need']}: {first['saved']:g} saved."
    )


def _unattributed(rows: Sequence[Row]) -> str:
    hours = sum(row["gpu_hours"] for row in rows)
    return f"{hours:,.1f} GPU-hours went to work that names no owner."


STORIES = (
    Story(
        "Do the books balance? (GPU-hours)",
        """
        SELECT
            pool,
            replaceOne(gpu_model, 'NVIDIA ', '') AS gpu,
            round(sum(capacity_gpu_hours), 1) AS capacity,
            round(sum(unallocated_gpu_hours), 1) AS unallocated,
            round(sum(idle_gpu_hours), 1) AS idle,
            round(sum(underused_gpu_hours), 1) AS underused,
            round(sum(busy_gpu_hours), 1) AS busy,
            sum(difference_gpu_hours) AS difference
        FROM ledger_balance
        GROUP BY pool, gpu
        ORDER BY capacity DESC
        """,
        _balance,
    ),
    Story(
        "Who asked for what, and what became of it? (GPU-hours)",
        """
        SELECT
            team,
            round(sum(requested_gpu_hours)) AS requested,
            round(sum(allocated_gpu_hours)) AS allocated,
            round(sum(active_gpu_hours)) AS active,
            round(sum(busy_gpu_hours)) AS busy,
            round(sum(unclaimed_gpu_hours)) AS unclaimed,
            round(sum(idle_gpu_hours)) AS idle,
            round(sum(underused_gpu_hours)) AS underused,
            round(sum(waste_gpu_hours)) AS waste,
            round(sum(waste_usd)) AS usd
        FROM waste_by_team
        GROUP BY team
        ORDER BY usd DESC
        """,
        _waste,
    ),
    Story(
        "Which requests deserve a word?",
        """
        SELECT
            id,
            team,
            requested_gpus AS requested,
            allocated_gpus_p95 AS held_p95,
            used_gpus_p95 AS used_p95,
            round(expected_sm_pct) AS sm_plan,
            round(measured_sm_pct) AS sm_real,
            reclaimable_gpus AS reclaim,
            verdict
        FROM request_review
        ORDER BY reclaim DESC, requested DESC
        """,
        _review,
    ),
    Story(
        "What does a replica really need? (MiB and SM percent per GPU; the widest swing first)",
        """
        SELECT
            model,
            min(mem_mib_min) AS mem_min,
            round(max(mem_mib_p50)) AS mem_p50,
            round(max(mem_mib_p95)) AS mem_p95,
            max(mem_mib_max) AS mem_max,
            max(sm_pct_p50) AS sm_p50,
            max(sm_pct_p95) AS sm_p95,
            max(used_gpus_p95) AS gpus_p95
        FROM resource_profile
        WHERE model != ''
        GROUP BY model
        ORDER BY mem_max - mem_min DESC
        LIMIT 4
        """,
        _swing,
    ),
    Story(
        "Who sits on GPUs without working?",
        """
        SELECT
            team,
            model,
            uniqExact(host, gpu) AS gpus,
            round(max(idle_hours), 1) AS longest_h,
            round(sum(idle_gpu_hours)) AS gpu_hours,
            round(sum(idle_usd)) AS usd,
            if(ever_worked, 'yes', 'no') AS ever_worked
        FROM idle_allocations
        WHERE idle_hours >= 0.5
        GROUP BY team, model, ever_worked
        ORDER BY usd DESC
        """,
        _idle,
    ),
    Story(
        "Where does an experiment share production hardware?",
        """
        SELECT
            host,
            host_pool,
            arrayStringConcat(arrayDistinct(arrayFlatten(groupArray(pools))), ', ') AS foreign,
            arrayStringConcat(arrayDistinct(arrayFlatten(groupArray(teams))), ', ') AS teams,
            shares,
            round(sum(foreign_gpu_hours), 1) AS gpu_hours
        FROM isolation_violations
        GROUP BY host, host_pool, shares
        ORDER BY gpu_hours DESC
        """,
        _isolation,
    ),
    Story(
        "Which small models could share GPUs?",
        """
        SELECT
            pool,
            model,
            gpus_now AS gpus,
            round(mem_mib_p99) AS mem_p99,
            round(sm_pct_p95) AS sm_p95,
            fits_on,
            pool_gpus_now AS all_now,
            pool_gpus_needed AS all_need,
            saved_gpus AS saved
        FROM consolidation_candidates
        WHERE pool = 'production'
        ORDER BY gpu_model, fits_on, model
        """,
        _consolidation,
    ),
    Story(
        "Who runs without an owner?",
        """
        SELECT
            host,
            process_name AS process,
            user,
            gpus,
            round(allocated_gpu_hours, 1) AS gpu_hours,
            round(busy_gpu_hours, 1) AS busy
        FROM unattributed_usage
        ORDER BY gpu_hours DESC
        LIMIT 5
        """,
        _unattributed,
    ),
)
