"""What `gpuledger` says when it cannot do as told: one line, and an exit code that means it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer

# These tests may themselves run under nohup.
WITH_SIGHUP = (
    "import os, signal, sys\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
GPULEDGER = str(Path(sys.executable).parent / "gpuledger")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GPULEDGER, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "arguments", [("query", "SELECT 1"), ("migrate",), ("serve",), ("migrate", "--status")]
)
def test_command_when_no_clickhouse_answers_then_one_short_line_says_so(
    arguments: tuple[str, ...],
) -> None:
    done = run(*arguments, "--clickhouse-url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "gpuledger: http://127.0.0.1:1: Connection refused;"
        " is it ClickHouse's HTTP port, and is it up?\n"
    )


def test_command_when_the_database_is_missing_then_it_says_how_to_make_it(
    clickhouse_server: EmbeddedServer,
) -> None:
    done = run("query", "--clickhouse-url", clickhouse_server.url, "--database", "nix", "SELECT 1")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "Database nix does not exist. (UNKNOWN_DATABASE) (ClickHouse error 81);"
        " run gpuledger migrate, or name another (--database)\n"
    )


@pytest.mark.parametrize("arguments", [("migrate",), ("serve",), ("findings",)])
def test_command_when_a_migration_was_changed_after_it_was_applied_then_it_says_how_to_go_on(
    database: StoreConfig, arguments: tuple[str, ...]
) -> None:
    with connect(database) as client:
        columns = ["name", "checksum"]
        client.insert("schema_migrations", [("0001_telemetry.sql", "x")], column_names=columns)
    where = ("--clickhouse-url", database.url, "--database", database.database)
    done = run(*arguments, *where)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "gpuledger: 0001_telemetry.sql was changed after this database had applied it: go on with"
        " the gpuledger that made it, or begin new books in another database or directory"
        " (docs/collector.md)\n"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('clickhouse-url = "x"', "clickhouse-url: no command has such a setting; write it with _"),
        ("[serve]\nclickhouse-url = 1", "[serve] clickhouse-url: gpuledger serve has no such"),
        ("[serv]", "[serv]: no such command; take one of demo, up, serve"),
        ("a b", "(at line 1, column 3)"),
    ],
)
def test_command_when_its_settings_file_is_wrong_then_one_line_says_where(
    tmp_path: Path, settings: str, said: str
) -> None:
    (tmp_path / "c.toml").write_text(settings)
    done = run("--config", str(tmp_path / "c.toml"), "query", "SELECT 1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def serve(store: StoreConfig, *flags: str) -> Sequence[str]:
    """`gpuledger serve` on a free port."""
    return (
        *("serve", "--clickhouse-url", store.url, "--database", store.database),
        *("--metrics", "", "--listen", "127.0.0.1:0", *flags),
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--embedded-port", "99999"), "--embedded-port"),
        (("--listen", ""), "write HOST:PORT"),
        (("--listen", "203.0.113.1:7670", "--insecure"), "Cannot assign requested address"),
        (("--tls-cert", __file__), "TLS needs both"),
        (("--token-file", __file__), "write TOKEN [HOSTS]"),
        (("--tls-any-host",), "give --tls-client-ca, too"),
        (("--tls-cert", __file__, "--tls-key", __file__), "give PEM files that belong together"),
    ],
)
def test_serve_when_a_flag_is_wrong_then_one_line_says_what(
    database: StoreConfig, flags: Sequence[str], said: str
) -> None:
    done = run(*serve(database, *flags))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_serve_when_its_port_is_taken_then_one_line_says_so(database: StoreConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(*serve(database, "--listen", address))
    assert done.returncode == 2
    assert (
        done.stderr == f"gpuledger: cannot listen on {address}: Address already in use (--listen)\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_serve_when_asked_to_end_then_it_drains_and_says_so(
    database: StoreConfig, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", WITH_SIGHUP, GPULEDGER, *serve(database)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert f"store={database.url} database={database.database}" in process.stderr.readline()
        process.send_signal(number)
        assert process.wait(30) == 0
        assert "event=draining" in process.stderr.read()


@pytest.mark.parametrize(
    ("sql", "code", "said"),
    [
        ("  ", 2, "no SQL"),
        ("SELECT 1 FORMAT PrettyCompact", 2, "leave FORMAT out of the query"),
        ("SELEC 1", 2, "Syntax error: failed at position 7 (1) (line 1, col 7)"),
        ("DROP TABLE gpus_raw", 2, "readonly"),
        ("SELECT host FROM gpus", 0, "no rows"),
    ],
)
def test_query_when_there_are_no_rows_to_show_then_one_short_line_says_why(
    database: StoreConfig, sql: str, code: int, said: str
) -> None:
    done = run("query", "--clickhouse-url", database.url, "--database", database.database, sql)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert len(done.stderr) < 200
