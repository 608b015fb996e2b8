"""ClickHouse as a child process, out of the chdb-core wheel.

`chdb` is made for queries inside Python, but its engine is the whole of ClickHouse: told to SYSTEM
START LISTEN HTTP it serves its real HTTP interface for as long as the query that follows runs. This
entry point is private: chdb-core is pinned in pyproject.toml, and nothing about it is known
outside this file. It reads $HOME/.clickhouse-local/config.xml.

Whoever is on this host reaches its port, and it may run as root. Made for its own user's files, it
would read, write and run for them whatever root may: its users are granted tables and views only,
all but the owner to read, and the process is confined to what is its own in the directory, since
`SELECT file(…)` asks for no grant.
"""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from gpuledger_collector.store import confine, embedded_config, owner
from gpuledger_collector.store.client import StoreConfig, StoreError
from gpuledger_collector.store.port import HOST, hold, refuses

log = logging.getLogger(__name__)

READY_S = 60.0
"""Longest start: a large data directory is read first."""

# What the child may read besides its data, where it exists: code, and what the machine is like.
_READABLE = (
    "/usr", "/lib", "/lib64", "/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/hosts", "/dev/null", "/dev/urandom", "/sys/devices", "/sys/fs/cgroup",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
)  # fmt: skip
_ENVIRONMENT = ("LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ")

# The format must be TabSeparated: with others clickhouse-connect refuses the connection.
_FORMAT = "TabSeparated"
_SERVE = (
    "SYSTEM START LISTEN HTTP;"
    "SELECT sleepEachRow(3) FROM system.numbers SETTINGS max_block_size = 1 FORMAT Null"
)


class EmbeddedServer:
    """A ClickHouse of one's own on a data directory, reachable from this host only.

    In the directory, `data` and `server` are the child's, the owner's secrets are ours (owner.py).

    It dies with its parent, however that dies. What it has acknowledged survives kill -9, its own
    or the parent's; `start` again on the same directory goes on. Raises StoreError.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        """`port` 0 takes any free one."""
        self._data_dir = data_dir.absolute()
        self._home = self._data_dir / "server"
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: IO[Any] | None = None
        self._held: socket.socket | None = None

    @property
    def url(self) -> str:
        """Where its HTTP interface answers."""
        return f"http://{HOST}:{self._port}"

    @property
    def store(self) -> StoreConfig:
        """The books in it, as their owner. Raises StoreError before it was started."""
        return owner.store(self._data_dir)

    @property
    def pid(self) -> int:
        """Process id of the child; 0 if there is none."""
        return self._child.pid if self._child else 0

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def listens(self) -> bool:
        """Whether it runs and takes connections.

        Everybody on this host can tell it to take none (SYSTEM STOP LISTEN): its own session, which
        takes the first ones, is of everybody's user.
        """
        return self.alive and not refuses(self._port)

    @property
    def exit_code(self) -> int | None:
        """How the child ended, as in subprocess.Popen; None while it runs, or if there is none."""
        return self._child.poll() if self._child else None

    def start(self) -> None:
        """Start, and wait until it answers."""
        try:
            self._start()
        except StoreError:
            self.stop()
            raise

    def _start(self) -> None:
        if importlib.util.find_spec("chdb") is None:
            raise StoreError(
                "the embedded ClickHouse is not installed: pip install 'gpuledger[embedded]'"
            )
        self._take_directory()
        if self._held is None:
            self._held = hold(self._port)
            self._port = int(self._held.getsockname()[1])
        self._configure()
        errors = (self._home / "stderr.log").open("wb")
        with errors:
            self._child = subprocess.Popen(
                # -P: no module out of the directory that somebody happens to start us in.
                [sys.executable, "-P", "-m", __spec__.name, str(self._data_dir / "data")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._environment(),
                # Ctrl-C in a terminal is for the parent, which ends us in its own order.
                start_new_session=True,
            )
        self._wait_until_ready()
        if not confine.version():
            log.warning(
                "event=store_not_confined reason=%r remedy=%r",
                "this kernel has no Landlock: by SQL all users of this host can read what the user"
                " who runs this can, and so the password of the books",
                "use a ClickHouse server (--clickhouse-url), or let no stranger log in",
            )

    def restart(self) -> None:
        """Start another child; directory and port stay ours meanwhile, and if that fails."""
        self._end_child()
        self._start()

    def stop(self) -> None:
        """End the child; what it acknowledged is on disk."""
        self._end_child()
        if self._held is not None:
            self._held.close()
            self._held = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            if self._child.stdin:
                self._child.stdin.close()
            self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _take_directory(self) -> None:
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._lock is None:
                self._lock = (self._data_dir / owner.LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{self._data_dir} is in use by another gpuledger:"
                " stop it, or name another directory"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{self._data_dir}: {error.strerror}; name a directory that can be written"
            ) from error

    def _environment(self) -> dict[str, str]:
        """What the child needs; of ours, which it would show to whoever asks, nothing else."""
        ours = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        return ours | {"HOME": str(self._home), "TMPDIR": str(self._home)}

    def _configure(self) -> None:
        try:
            for made in (self._home, self._data_dir / "data"):
                made.mkdir(exist_ok=True)
            password = owner.password(self._data_dir)
            embedded_config.write(self._home, HOST, self._port, password)
            owner.announce(self._data_dir, self.url)
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}; make it writable") from error

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if not self.alive:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=5):  # noqa: S310  # ours
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        reason = self._last_words()
        raise StoreError(f"the embedded ClickHouse in {self._data_dir} did not start: {reason}")

    def _last_words(self) -> str:
        lines = (self._home / "stderr.log").read_text("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        telling = [line for line in said if "Exception" in line or "Error" in line] or said
        return telling[-1][:300] if telling else "it gave no answer"


def _die_with_parent() -> None:
    """End when the parent's end of our stdin closes, by whatever death."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _serve(directory: str) -> None:
    """Be the child: serve until killed."""
    if confine.version():
        code = (sys.prefix, sys.base_prefix, *sys.path)
        own = [Path(directory), Path.home()]
        confine.confine(own, map(Path, (*_READABLE, *code)))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from chdb import _chdb  # noqa: PLC0415

    _chdb.query(  # type: ignore[attr-defined]
        _SERVE, _FORMAT, path=directory
    )


if __name__ == "__main__":
    _serve(sys.argv[1])
