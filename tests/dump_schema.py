"""The schema as ClickHouse understands it, for review: `python -m tests.dump_schema`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from clickhouse_connect.driver.client import Client

import gpuledger_sql
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate

SCHEMA = Path(gpuledger_sql.__file__).parent / "schema.sql"


def dump(client: Client) -> str:
    """CREATE statements of all tables and views by name, free of names of database and user."""
    names = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND name NOT LIKE '.inner%' ORDER BY name"
    ).result_rows
    prefix = f"{client.database}."
    shown = [client.query(f"SHOW CREATE TABLE `{name}`").result_rows[0][0] for (name,) in names]
    [(user,)] = client.query("SELECT currentUser()").result_rows
    text = "".join(statement.replace(prefix, "") + ";\n\n" for statement in shown)
    return text.replace(f"DEFINER = {user} ", "DEFINER = default ")


def main() -> None:
    """Write the dump of a fresh database to the file that the drift test reads."""
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedServer(Path(directory)) as server,
        connect(server.store, create_database=True) as client,
    ):
        migrate(client)
        SCHEMA.write_text(dump(client))


if __name__ == "__main__":
    main()
