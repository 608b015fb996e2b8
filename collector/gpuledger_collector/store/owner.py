"""The owner of embedded books: who may change them, and how that user's commands get to.

Everybody on the host reaches the port and may read, as ClickHouse's user `default`. What changes
the books takes the owner's password, which lies in a file that only the user who runs ClickHouse
can open, where ClickHouse itself cannot: `SELECT file(…)` would show it to everybody.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from pathlib import Path

from gpuledger_collector import whole_file
from gpuledger_collector.store.client import StoreConfig, StoreError

USER = "owner"

LOCK = "lock"
"""Locked while ClickHouse runs, and its port kept from everybody else."""

_PASSWORD, _URL = "password", "url"

_STORE = "store"
"""Where `gpuledger up` keeps the books in its own directory."""


def password(directory: Path) -> str:
    """The owner's password; random, made the first time. Raises OSError."""
    path = directory / _PASSWORD
    if not _ours(path):
        whole_file.write(path, f"{secrets.token_urlsafe(32)}\n".encode(), 0o600)
    return path.read_text("ascii").strip()


def announce(directory: Path, url: str) -> None:
    """Say where ClickHouse answers, to whoever runs it. Raises OSError."""
    whole_file.write(directory / _URL, f"{url}\n".encode(), 0o600)


def store(directory: Path) -> StoreConfig:
    """The books of this directory, as their owner. Raises StoreError unless ClickHouse runs."""
    try:
        within = directory / _STORE
        place = within if (within / _PASSWORD).exists() else directory
        url = (place / _URL).read_text("utf-8").strip()
        secret = (place / _PASSWORD).read_text("ascii").strip()
        running = _locked(place / LOCK)
    except OSError as error:
        raise StoreError(
            f"{error.filename}: {error.strerror}; name the directory of an embedded ClickHouse, as"
            " the user who runs it (--data)"
        ) from error
    if not running:
        # Whoever has taken its port since would be told the password.
        raise StoreError(f"{place}: no ClickHouse runs on it; start gpuledger up, or serve")
    return StoreConfig(url, username=USER, password=secret)


def _locked(path: Path) -> bool:
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _ours(path: Path) -> bool:
    """Whether the file is there, and nobody else has put it there or can read it."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    alone = not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and alone
