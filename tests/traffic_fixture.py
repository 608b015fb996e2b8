"""What inference servers did, as an agent says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import present_window

EVERYTHING = 127
"""All that a server can offer."""

NO_LIMIT = (1 << 64) - 1

LAYOUTS = ((), (100_000, 500_000), (250_000,))
"""Upper edges in microseconds, by index."""

OWNER = {"team": "search", "model": "ranker", "endpoint": "chat", "pool": "production"}


def traffic(
    *servers: dict[str, Any], layouts: Sequence[Sequence[int]] = LAYOUTS, start: int | None = None
) -> wire.Batch:
    """A batch with a window of each server: columns by name, `*_counts` a list of its own."""
    at = present_window() if start is None else start
    made = wire.Batch(sequence=1, dictionary=[""])
    made.layouts.extend(wire.Buckets(upto_us=edges) for edges in layouts)
    columns = made.endpoint_traffic
    names = {name for server in servers for name in server} | {*OWNER, "server"}
    texts = {*OWNER, "server", "workload", "server_kind", "served_model"}
    for number, given in enumerate(servers):
        server = {**OWNER, "server": f"127.0.0.1:{8000 + number}", **given}
        columns.window_start.append(at)
        columns.window_s.append(10)
        columns.observed_ms.append(10_000)
        for name in names - {"window_s", "observed_ms"}:
            column = getattr(columns, name)
            if name.endswith("_counts"):
                column.extend(server.get(name, ()))
            elif name in texts:
                column.append(len(made.dictionary))
                made.dictionary.append(server[name])
            else:
                column.append(server.get(name, 0))
    return made
