"""Pools whose growth is known, as rolled-up hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tests.ledger_fleet import GPU_MODELS, insert

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""Its first two hours are known. Recent, because hours expire."""

MS = 3_600_000


def fill_hours(
    client: Client,
    allocated: Callable[[datetime], float],
    *,
    capacity: int = 100,
    days: int = 28,
    pool: str = "production",
    gpu_model: str = GPU_MODELS[0],
) -> None:
    """Capacity of these days, and of today's first two hours, with so many GPUs allocated."""
    hours = [TODAY - timedelta(days=days) + timedelta(hours=n) for n in range(24 * days + 2)]
    insert(
        client,
        "capacity_hourly_versions",
        [
            {
                "hour": hour,
                "computed_at": TODAY,
                "cluster": "east",
                "host_pool": pool,
                "gpu_model": gpu_model,
                "first_seen": hour,
                "last_seen": hour + timedelta(hours=1),
                "hosts": capacity // 8,
                "gpus": capacity,
                "observed_ms": capacity * MS,
                "unallocated_ms": round((capacity - allocated(hour)) * MS),
                "observed_gpu_ms_by_minute": [capacity * 60_000] * 60,
            }
            for hour in hours
        ],
    )
    insert(
        client,
        "rolled_hours",
        [{"hour": hour, "computed_at": TODAY, "rolled_at": TODAY} for hour in hours],
    )
