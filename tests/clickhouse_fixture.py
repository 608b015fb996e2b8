"""A real ClickHouse for the tests: one server a session, one database a test."""

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


@pytest.fixture
def database(empty_database: StoreConfig) -> StoreConfig:
    """A database with the whole schema and no rows."""
    with connect(empty_database) as client:
        migrate(client)
    return empty_database


@pytest.fixture
def client(database: StoreConfig) -> Iterator[Client]:
    """A connection to `database`."""
    with connect(database) as connected:
        yield connected
