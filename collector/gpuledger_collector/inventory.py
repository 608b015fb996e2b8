"""Hosts and GPUs as they introduce themselves, into the columns of inserts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuledger_collector.columns import TEXT, Insert
from gpuledger_proto.v1 import telemetry_pb2 as wire

_SEEN_AT = "DateTime64(3, 'UTC')"

_HOST = {
    "cluster": TEXT,
    "host": "String",
    "host_pool": TEXT,
    "agent_version": TEXT,
    "boot_id": "String",
    "driver_version": TEXT,
    "labels": f"Map({TEXT}, String)",
    "seen_at": _SEEN_AT,
}
_GPU = {
    "cluster": TEXT,
    "host": "String",
    "gpu": "String",
    "gpu_index": "UInt16",
    "gpu_model": TEXT,
    "memory_mib": "UInt32",
    "parent_gpu": "String",
    "share_milli": "UInt16",
    "mig_profile": TEXT,
    "seen_at": _SEEN_AT,
}


def inserts(hellos: Sequence[tuple[wire.Hello, float]]) -> list[Insert]:
    """Inserts of hosts and GPUs that were seen at these seconds since the epoch."""
    seen = [(hello, round(1000 * at)) for hello, at in hellos]
    hosts = [_host_row(hello, at_ms) for hello, at_ms in seen]
    gpus = [_gpu_row(hello, gpu, at_ms) for hello, at_ms in seen for gpu in hello.gpus]
    tables = (("hosts_raw", _HOST, hosts), ("gpus_raw", _GPU, gpus))
    return [
        Insert(table, list(columns), list(columns.values()), list(zip(*rows, strict=True)))
        for table, columns, rows in tables
        if rows
    ]


def _host_row(hello: wire.Hello, at_ms: int) -> tuple[Any, ...]:
    return (
        hello.cluster,
        hello.host,
        hello.host_pool,
        hello.agent_version,
        hello.boot_id,
        hello.driver_version,
        dict(hello.labels),
        at_ms,
    )


def _gpu_row(hello: wire.Hello, gpu: wire.Gpu, at_ms: int) -> tuple[Any, ...]:
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
        at_ms,
    )
