"""A real ClickHouse for the tests: one server a session, a database for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The embedded ClickHouse, running. Tests that kill it start one of their own.

    Commands that are told its URL change its books as their owner.
    """
    directory = tmp_path_factory.mktemp("clickhouse")
    with EmbeddedServer(directory) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPULEDGER_USERNAME", server.store.username)
        patch.setenv("GPULEDGER_PASSWORD_FILE", str(directory / "password"))
        yield server


@contextmanager
def database_of_its_own(server: EmbeddedServer) -> Iterator[StoreConfig]:
    """A new empty database, dropped afterwards."""
    config = replace(server.store, database=f"test_{secrets.token_hex(6)}")
    with connect(config, create_database=True) as client:
        yield config
        client.command(f"DROP DATABASE {config.database} SYNC")


@pytest.fixture
def empty_database(clickhouse_server: EmbeddedServer) -> Iterator[StoreConfig]:
    """A database without tables."""
    with database_of_its_own(clickhouse_server) as config:
        yield config


class Databases:
    """Databases with the whole schema and no rows, which tests use one after the other.

    To make one takes ten times as long as to empty it.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._made: set[str] = set()
        self._free: list[StoreConfig] = []

    @contextmanager
    def one(self) -> Iterator[StoreConfig]:
        """A database; taken back if it is as it was made but for other rows, else dropped."""
        config = self._free.pop() if self._free else self._make()
        yield config
        with connect(config) as client:
            if _state(client) in self._made and not _busy(client):
                _empty(client)
                self._free.append(config)
            else:
                client.command(f"DROP DATABASE {config.database} SYNC")

    def _make(self) -> StoreConfig:
        config = replace(self._server.store, database=f"test_{secrets.token_hex(6)}")
        with connect(config, create_database=True) as client:
            migrate(client)
            # Times of changes are told by the second: let none of a test fall into ours.
            client.command("SELECT sleep(1)")
            self._made.add(_state(client))
        return config


FILLED = "('schema_migrations', 'retention')"
"""What has rows in a new database."""


def _state(client: Client) -> str:
    """Tables and views of this database as they were last changed, and the rows it began with.

    To ask how they are made takes ten times as long.
    """
    rows = f"if(name IN {FILLED}, total_rows, 0)"
    query = (
        "SELECT currentDatabase(),"
        f" groupBitXor(sipHash64(name, uuid, metadata_modification_time, {rows}))"
        " FROM system.tables WHERE database = currentDatabase()"
    )
    return str(client.query(query).result_rows)


def _empty(client: Client) -> None:
    query = (
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        f" AND total_rows > 0 AND name NOT IN {FILLED}"
    )
    for (table,) in client.query(query).result_rows:
        client.command(f"TRUNCATE TABLE `{table}`")


def _busy(client: Client) -> bool:
    """Whether ClickHouse is still at work in this database for somebody who is gone."""
    query = "SELECT count() FROM system.processes WHERE current_database = currentDatabase()"
    return bool(client.query(query).result_rows[0][0] > 1)


@pytest.fixture(scope="session")
def databases(clickhouse_server: EmbeddedServer) -> Databases:
    """Where `database` comes from."""
    return Databases(clickhouse_server)


@pytest.fixture
def database(databases: Databases) -> Iterator[StoreConfig]:
    """A database with the whole schema and no rows."""
    with databases.one() as config:
        yield config


@pytest.fixture
def client(database: StoreConfig) -> Iterator[Client]:
    """A connection to `database`."""
    with connect(database) as connected:
        yield connected
