"""The one way to reach ClickHouse: clickhouse-connect over HTTP."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

# What it has to say comes as an exception too, and is logged by whoever can do something about it.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)

MIN_VERSION = (25, 3)
"""Oldest ClickHouse whose SQL ours is: SQL SECURITY in views came with 24.2, the long-term
release 25.3 is what we vouch for."""

# What the libraries would log of a fault, they also raise, and we say it once.
for _name in ("clickhouse_connect", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_SETTINGS = {
    # An insert is acknowledged once it is in the table, not in a buffer.
    "async_insert": 0,
    # Deduplication tokens have a hole after a crash; the sorting keys do this work.
    "insert_deduplicate": 0,
    "max_execution_time": 300,
}


class StoreError(Exception):
    """ClickHouse cannot be used; says why and what to do in one line."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the books are kept. The password is left out of the representation."""

    url: str = "http://127.0.0.1:8123"
    database: str = "gpuledger"
    username: str = "default"
    password: str = ""

    def __repr__(self) -> str:
        """Without the password: representations end up in logs."""
        return f"StoreConfig(url={self.url!r}, database={self.database!r})"


def connect(config: StoreConfig, *, create_database: bool = False) -> Client:
    """Open a connection of its own, for one thread to change things by. Raises StoreError."""
    parts = urlsplit(config.url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise StoreError(f"{config.url!r} is no ClickHouse URL: write http://HOST:8123")
    if create_database:
        _create_database(config)
    try:
        client = clickhouse_connect.get_client(
            host=parts.hostname,
            port=port or (8443 if parts.scheme == "https" else 8123),
            secure=parts.scheme == "https",
            username=config.username,
            password=config.password,
            database=config.database,
            settings=dict(_SETTINGS),
            compress=False,
            autogenerate_session_id=False,
            connect_timeout=5,
            send_receive_timeout=330,
        )
    except (ClickHouseError, OSError) as error:
        raise StoreError(f"{config.url}: {one_line(error)}{remedy(error)}") from error
    version = tuple(int(part) for part in (client.server_version or "0").split(".")[:2])
    if version < MIN_VERSION:
        client.close()
        needed = ".".join(map(str, MIN_VERSION))
        raise StoreError(
            f"{config.url}: ClickHouse {client.server_version}; take {needed} or newer"
        )
    return client


def reading(client: Client) -> dict[str, str]:
    """Settings of a session that reads and no more.

    Level 2, in which a query may bring settings of its own. A user who is held to reading is not
    allowed to ask even for that.
    """
    own = client.server_settings.get("readonly")
    return {} if own and own.value != "0" else {"readonly": "2"}


def answered(error: Exception) -> bool:
    """Whether ClickHouse itself said so; else it could not be asked."""
    return "Code: " in str(error)


def one_line(error: Exception) -> str:
    """What ClickHouse or the network said, without stack, version and advertisement."""
    text = _from_network(error) or " ".join(str(error).split())
    code = ""
    if "Code: " in text and "DB::Exception: " in text:
        number = text.split("Code: ", 1)[1].split(".", 1)[0]
        code = f" (ClickHouse error {number})"
        text = text.split("DB::Exception: ", 1)[1]
    for end in (" (version ", " (for url ", " Expected one of: "):
        text = text.split(end, 1)[0]
    return text[:500] + code or type(error).__name__


def _from_network(error: BaseException) -> str:
    """What the system said of a connection, without what libraries wrapped around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return ""


def remedy(error: Exception) -> str:
    """What to do about what failed, `; …`, where that can be told."""
    if "ACCESS_DENIED" in str(error):
        return "; give a user who may (--username), or an embedded ClickHouse's directory (--data)"
    if "UNKNOWN_DATABASE" in str(error):
        return "; run gpuledger migrate, or name another (--database)"
    return "" if answered(error) else "; is it ClickHouse's HTTP port, and is it up?"


def _create_database(config: StoreConfig) -> None:
    with connect(replace(config, database="default")) as client:
        try:
            client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(config.database)}")
        except ClickHouseError as error:
            raise StoreError(
                f"database {config.database!r}: {one_line(error)}{remedy(error)}"
            ) from error


def quoted(name: str) -> str:
    """An identifier as SQL wants it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
