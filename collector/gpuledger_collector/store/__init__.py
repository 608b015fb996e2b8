"""ClickHouse: the embedded server, connections, migrations."""
