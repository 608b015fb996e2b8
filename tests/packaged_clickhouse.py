"""A ClickHouse with the users of packaging/clickhouse, and what they ask of it as plain HTTP."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate

PACKAGING = Path(__file__).parent.parent / "packaging"
ROLES = (PACKAGING / "clickhouse" / "roles.sql").read_text()
USERS = (PACKAGING / "clickhouse" / "users.sql").read_text()
XML = (PACKAGING / "clickhouse" / "users.xml").read_text()

ADMIN, WRITER, READER = "gpuledger_migrate", "gpuledger_collector", "gpuledger_grafana"


def installed() -> str:
    """The file as somebody installs it: the password of each user is its name."""

    def digest(found: re.Match[str]) -> str:
        return hashlib.sha256(f"gpuledger_{found[1].lower()}".encode()).hexdigest()

    return re.sub(r"SHA256_OF_(\w+)", digest, XML)


@dataclass(frozen=True)
class Answer:
    """What ClickHouse said: rows, or why not."""

    error: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    """Name -> type."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    read_rows: int = 0


@dataclass(frozen=True)
class Packaged:
    """The server with these users, and database gpuledger."""

    server: EmbeddedServer

    def store(self, user: str) -> StoreConfig:
        """The books as one of the users."""
        return replace(self.server.store, username=user, password=user, database="gpuledger")

    def ask(self, sql: str, user: str = READER, **settings: Any) -> Answer:
        """Ask as Grafana's plugin does: of settings the timeout alone."""
        given = {
            "database": "gpuledger", "default_format": "JSON", "wait_end_of_query": 1,
            "max_execution_time": 65,
        }  # fmt: skip
        url = f"{self.server.url}/?{urllib.parse.urlencode(given | settings)}"
        request = urllib.request.Request(url, sql.encode())
        request.add_header("X-ClickHouse-User", user)
        request.add_header("X-ClickHouse-Key", user)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                said = json.loads(response.read() or "{}")
                summary = json.loads(response.headers["X-ClickHouse-Summary"])
        except urllib.error.HTTPError as error:
            return Answer(error.read().decode())
        columns = {column["name"]: column["type"] for column in said.get("meta", [])}
        return Answer("", columns, said.get("data", []), int(summary["read_rows"]))


@contextmanager
def packaged(directory: Path, fill: Callable[[Client], object]) -> Iterator[Packaged]:
    """Run one with books that one of the users has migrated and another has filled."""
    place = directory / "server" / ".clickhouse-local" / "users.d"
    place.mkdir(parents=True)
    (place / "gpuledger.xml").write_text(installed())
    with EmbeddedServer(directory) as server:
        found = Packaged(server)
        with connect(found.store(ADMIN), create_database=True) as client:
            migrate(client)
        with connect(found.store(WRITER)) as client:
            fill(client)
        yield found
