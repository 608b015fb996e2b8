"""Hosts and GPUs as they introduce themselves, into rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_proto.v1 import telemetry_pb2 as wire

_HOST = (
    "cluster",
    "host",
    "host_pool",
    "agent_version",
    "boot_id",
    "driver_version",
    "labels",
    "seen_at",
)
_GPU = (
    "cluster",
    "host",
    "gpu",
    "gpu_index",
    "gpu_model",
    "memory_mib",
    "parent_gpu",
    "share_milli",
    "mig_profile",
    "seen_at",
)


def store(client: Client, hello: wire.Hello, seen_at: float) -> None:
    """File a host and its GPUs. Raises ClickHouseError."""
    at = datetime.fromtimestamp(seen_at, UTC)
    client.insert("hosts_raw", [_host_row(hello, at)], column_names=_HOST)
    if hello.gpus:
        rows = [_gpu_row(hello, gpu, at) for gpu in hello.gpus]
        client.insert("gpus_raw", rows, column_names=_GPU)


def _host_row(hello: wire.Hello, at: datetime) -> tuple[Any, ...]:
    return (
        hello.cluster,
        hello.host,
        hello.host_pool,
        hello.agent_version,
        hello.boot_id,
        hello.driver_version,
        dict(hello.labels),
        at,
    )


def _gpu_row(hello: wire.Hello, gpu: wire.Gpu, at: datetime) -> tuple[Any, ...]:
    return (
        hello.cluster,
        hello.host,
        gpu.uuid,
        min(gpu.index, 65_535),
        gpu.model,
        gpu.memory_mib,
        gpu.parent_uuid,
        min(gpu.share_milli, 1_000),
        gpu.mig_profile,
        at,
    )
