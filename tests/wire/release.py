"""A release as it was recorded: what its agent said, and what its collector answered and stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from google.protobuf.descriptor_pb2 import FileDescriptorProto

RELEASES = Path(__file__).parent / "releases"

TABLES = {
    "hosts": "* EXCEPT seen_at",
    "gpus": "* EXCEPT seen_at",
    "process_usage": "*",
    "gpu_usage": "*",
    "gpu_allocation": "*",
    "agent_health": "*",
    "telemetry_gaps": "*",
    "endpoint_traffic": "*",
}
"""What a collector of this version stores, and which columns of it are the agent's word."""

Rows = dict[str, list[dict[str, object]]]
"""By table: rows by the name of the column."""


@dataclass(frozen=True, slots=True)
class Release:
    """The folder of a release, named by its version."""

    folder: Path

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def said(self) -> list[bytes]:
        """What its agent sent on one stream, message by message."""
        return unpacked((self.folder / "agent.bin").read_bytes())

    @property
    def answered(self) -> list[bytes]:
        """What its collector answered to that, message by message."""
        return unpacked((self.folder / "collector.bin").read_bytes())

    @property
    def spool(self) -> Path:
        """The spool that its agent sent that from, as it was before."""
        return self.folder / "spool.sqlite"

    @property
    def rows(self) -> Rows:
        """What its books had of it."""
        found: Rows = json.loads((self.folder / "rows.json").read_text())
        return found

    @property
    def schema(self) -> FileDescriptorProto:
        """Its telemetry.proto."""
        return FileDescriptorProto.FromString((self.folder / "schema.bin").read_bytes())


def releases() -> list[Release]:
    """All that were recorded."""
    return [Release(path) for path in sorted(RELEASES.iterdir()) if path.is_dir()]


def stored(client: Client, columns: dict[str, str] = TABLES) -> Rows:
    """What the books have, of each table these columns."""
    found: Rows = {}
    for table, wanted in columns.items():
        # The order of columns may change, so it cannot be the order of rows.
        sql = f"SELECT {wanted} FROM {table}"
        lines = client.raw_query(sql, fmt="JSONEachRow").decode().splitlines()
        rows = [json.loads(line) for line in lines]
        found[table] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def stored_as(client: Client, rows: Rows) -> Rows:
    """What the books have in the tables and columns of these rows."""
    return stored(client, {table: ", ".join(found[0]) for table, found in rows.items()})


def packed(messages: Iterable[bytes]) -> bytes:
    """Each preceded by its length in four bytes, little-endian."""
    return b"".join(len(message).to_bytes(4, "little") + message for message in messages)


def unpacked(raw: bytes) -> list[bytes]:
    messages = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        messages.append(raw[4:end])
        raw = raw[end:]
    return messages
