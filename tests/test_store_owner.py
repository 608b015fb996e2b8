"""Who may change embedded books: their owner, and nobody else on the host."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpuledger_collector.store import confine, owner
from gpuledger_collector.store.client import StoreConfig, StoreError, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.test_store_confined import ask

GPULEDGER = str(Path(sys.executable).parent / "gpuledger")

REQUESTS = """
requests:
  - {id: chat, team: search, pool: production, gpus: 8, from: 2026-01-01}
"""


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory that `gpuledger up` was given; its ClickHouse runs and has the schema."""
    directory = tmp_path_factory.mktemp("up")
    with EmbeddedServer(directory / "store") as server:
        with connect(server.store, create_database=True) as client:
            migrate(client)
        yield directory


def gpuledger(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it who has set nothing."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GPULEDGER")}
    return subprocess.run(
        [GPULEDGER, *arguments], capture_output=True, text=True, check=False, timeout=60, env=env
    )


CHANGES = (
    "INSERT INTO gpuledger.capacity_requests (id) VALUES ('x')",
    "ALTER TABLE gpuledger.process_usage_raw DELETE WHERE 1",
    "TRUNCATE TABLE gpuledger.process_usage_raw",
    "OPTIMIZE TABLE gpuledger.process_usage_raw FINAL",
    "DROP TABLE gpuledger.process_usage_raw",
    "DROP VIEW gpuledger.ledger_hourly",
    "DROP DATABASE gpuledger",
    "RENAME TABLE gpuledger.process_usage_raw TO gpuledger.x",
    "CREATE TABLE gpuledger.t (a UInt8) ENGINE = MergeTree ORDER BY a",
    "CREATE OR REPLACE VIEW gpuledger.ledger_hourly AS SELECT 1",
    "CREATE DATABASE d",
    "CREATE USER u",
    "SYSTEM STOP MERGES gpuledger.process_usage_raw",
)


@pytest.mark.parametrize("sql", CHANGES)
def test_books_when_a_stranger_would_change_them_then_it_is_refused(books: Path, sql: str) -> None:
    assert "Not enough privileges" in ask(owner.store(books).url, sql)


def test_books_when_anybody_asks_then_they_are_read(books: Path) -> None:
    url = owner.store(books).url
    assert ask(url, "SELECT count() FROM gpuledger.ledger_hourly") == "0\n"
    done = gpuledger("query", "--clickhouse-url", url, "SELECT count() AS n FROM ledger_hourly",
                     "--format", "csv")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "n\n0\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user: run as root")
def test_directory_when_it_is_another_users_then_one_line_says_so(tmp_path: Path) -> None:
    place = tmp_path / "books"
    place.mkdir(0o700)
    os.seteuid(12_345)
    try:
        with pytest.raises(StoreError, match=r": Permission denied; name the directory of") as no:
            owner.store(place)
    finally:
        os.seteuid(0)
    assert "\n" not in str(no.value)


def test_password_when_it_is_wrong_or_none_then_nobody_is_the_owner(books: Path) -> None:
    for password in ("", "wrong"):
        with pytest.raises(StoreError, match="Authentication failed"):
            connect(replace(owner.store(books), password=password))


def test_command_when_told_the_directory_then_it_changes_the_books_and_else_says_how(
    books: Path, tmp_path: Path
) -> None:
    file = tmp_path / "requests.yaml"
    file.write_text(REQUESTS)
    apply = ("requests", "apply", str(file))
    refused = gpuledger(*apply, "--clickhouse-url", owner.store(books).url)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "Not enough privileges" in refused.stderr
    assert refused.stderr.endswith(
        "; give a user who may (--username), or an embedded ClickHouse's directory (--data)\n"
    )
    for directory in (books, books / "store"):
        done = gpuledger(*apply, "--data", str(directory))
        assert (done.returncode, done.stderr) == (0, "")
    assert "no change" in done.stdout


def test_password_when_the_server_runs_then_it_is_in_no_command_environment_log_or_query(
    books: Path,
) -> None:
    store = owner.store(books)
    gpuledger("query", "--data", str(books), "SELECT 1")
    shown = [
        path.read_bytes() for path in (books / "store" / "server").rglob("*") if path.is_file()
    ]
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                shown.append((process / name).read_bytes())
            except OSError:
                continue  # gone, or another's
    shown.append(ask(store.url, "SELECT * FROM system.processes").encode())
    assert len(shown) > 20
    assert not [one for one in shown if store.password.encode() in one]
    assert store.password not in repr(store)


@pytest.mark.skipif(
    not confine.version(), reason="Landlock confines it: needs a kernel of 5.13 or newer with it"
)
def test_password_when_a_stranger_asks_for_its_file_by_sql_then_it_is_not_told(books: Path) -> None:
    store = owner.store(books)
    path = books / "store" / "password"
    assert path.read_text() == f"{store.password}\n"
    for name in (path, path.with_name("url"), f"{books}/store/data/../password"):
        assert "Exception" in ask(store.url, f"SELECT file('{name}')")


def test_secrets_when_written_then_for_their_user_alone_and_the_same_the_next_time(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        first = owner.password(tmp_path)
        owner.announce(tmp_path, "http://127.0.0.1:1")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert len(first) >= 40
    assert owner.password(tmp_path) == first
    assert owner.password(tmp_path.parent / tmp_path.name) == first


@pytest.mark.parametrize("how", ["link", "readable", "of another"])
def test_password_when_somebody_else_may_know_it_then_there_is_another(
    tmp_path: Path, how: str
) -> None:
    planted, path = tmp_path / "planted", tmp_path / "password"
    planted.write_text("known\n")
    planted.chmod(0o600)
    if how == "link":
        path.symlink_to(planted)
    else:
        planted.rename(path)
        if how == "readable":
            path.chmod(0o640)
        elif os.geteuid():
            pytest.skip("only root can give files away")
        else:
            os.chown(path, 12_345, 12_345)
    assert owner.password(tmp_path) != "known"
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_directory_when_no_clickhouse_runs_on_it_then_no_password_is_sent_anywhere(
    tmp_path: Path,
) -> None:
    with EmbeddedServer(tmp_path / "store") as server:
        assert isinstance(server.store, StoreConfig)
    with pytest.raises(StoreError, match=r"no ClickHouse runs on it; start gpuledger up"):
        owner.store(tmp_path)
    done = gpuledger("query", "--data", str(tmp_path / "nowhere"), "SELECT 1")
    assert done.returncode == 1
    assert done.stderr == (
        f"gpuledger: {tmp_path}/nowhere/url: No such file or directory; name the directory of an"
        " embedded ClickHouse, as the user who runs it (--data)\n"
    )
