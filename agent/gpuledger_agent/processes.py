"""Who a pid is: identity and facts of the processes on this host, from /proc (proc(5)).

A process is a pid and its start. An open file of /proc/PID belongs to one process for ever: reading
it fails once that process is gone, even if the pid is in use again. So one `pread` per tick tells a
reused pid from the old one; of `comm`, which takes 1.5 microseconds (`stat` 5, psutil 35).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gpuledger_agent.environ import ENVIRON_LIMIT, variables
from gpuledger_agent.patience import Patience, StuckError
from gpuledger_agent.records import ProcessKey

CGROUP_LIMIT = 1 << 16
COMMAND_LIMIT = 1 << 12

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What is known of a process since it was first seen.

    `started` is in seconds since the epoch. `visible` is False for a pid that /proc does not show
    (another PID namespace, or dead before anyone looked): then only the pid is known.
    `environ` holds the variables that are wanted; `environ_error` says why it is empty when it
    could not be read. `command` is the command line, its arguments joined by blanks, if wanted.
    """

    key: ProcessKey
    started: float
    name: str = ""
    uid: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    environ_error: str = ""
    cgroup: str = ""
    command: str = ""
    visible: bool = True


class ProcessTable(Protocol):
    """Identifies the pids that a driver reports. Used by several threads."""

    def identify(self, pid: int, now: float) -> ProcessFacts:
        """Facts of the process that has this pid at `now`. Never raises."""
        ...

    def facts(self, key: ProcessKey) -> ProcessFacts | None:
        """Facts of a process identified before, alive or not; None if long gone."""
        ...

    def prune(self, before: float) -> None:
        """Forget processes that were last identified before this time."""
        ...


class _Descriptor:
    """An open file that closes with its last reference, so that no thread reads a reused one."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


@dataclass(slots=True)
class _Entry:
    facts: ProcessFacts
    comm: _Descriptor | None
    seen: float
    late: Hashable = None
    """Whose memory could not be read in time; None if it could."""

    def alive(self) -> bool:
        """Whether this very process, not another of its pid, still exists."""
        comm = self.comm
        if comm is None:
            return False
        try:
            os.pread(comm.fd, 1, 0)
        except ProcessLookupError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Said:
    """What a process says of itself; `error` is why it says nothing, `late` if it was too slow."""

    command: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    late: bool = False


class HostProcesses:
    """The processes of this host, under `proc` (the root of a proc file system).

    `wants` says which environment variables are needed, `command` whether command lines are;
    nothing else of them is kept. `noticed` is told of each process once, in the thread that saw it.
    """

    def __init__(
        self,
        wants: Callable[[str], bool],
        proc: Path = Path("/proc"),
        *,
        command: bool = False,
        noticed: Callable[[ProcessFacts], None] = lambda _: None,
    ) -> None:
        self._proc = proc
        self._wants = wants
        self._command = command
        self._noticed = noticed
        self._patience = Patience()
        self._boot_time = _boot_time(proc)
        self._by_pid: dict[int, _Entry] = {}
        self._by_key: dict[ProcessKey, _Entry] = {}

    def identify(self, pid: int, now: float) -> ProcessFacts:
        """Facts of the process that has this pid at `now`. Never raises."""
        entry = self._by_pid.get(pid)
        if entry is not None and entry.alive() and not self._readable_by_now(entry):
            entry.seen = now
        else:
            entry = self._look_up(pid, now, entry)
            self._by_pid[pid] = entry
        # No lock, so that no GPU's thread waits for another's. Two that look up the same pid agree
        # on the key; whose entry is found by it is settled the next time, so that the one kept is
        # the one seen.
        self._by_key[entry.facts.key] = entry
        return entry.facts

    def facts(self, key: ProcessKey) -> ProcessFacts | None:
        """Facts of a process identified before, alive or not; None if long gone."""
        entry = self._by_key.get(key)
        return entry.facts if entry else None

    def prune(self, before: float) -> None:
        """Forget processes that were last identified before this time."""
        for key, entry in list(self._by_key.items()):
            if entry.seen < before:
                del self._by_key[key]
                if self._by_pid.get(key.pid) is entry:
                    del self._by_pid[key.pid]
            elif not entry.alive():
                entry.comm = None  # its file; what comes and goes fast must not take all there are

    def _look_up(self, pid: int, now: float, previous: _Entry | None) -> _Entry:
        try:
            # Opened by way of one directory, all files are of one process, or cannot be opened.
            home = _Descriptor(os.open(self._proc / str(pid), os.O_PATH | os.O_CLOEXEC))
            comm = _Descriptor(_open("comm", home))
            name, start_ticks = _parse_stat(_read("stat", home, 4096))
            uid = os.fstat(home.fd).st_uid
        except (OSError, ValueError, IndexError):
            return _invisible(pid, now, previous)
        started = self._boot_time + start_ticks / _TICKS_PER_S
        cgroup = _text_of("cgroup", home, CGROUP_LIMIT)
        whose = uid or cgroup  # root in one container does not stand for root in all of them
        said = self._said(home, whose)
        facts = ProcessFacts(
            key=ProcessKey(pid, int(started)),
            started=started,
            name=name,
            uid=uid,
            environ=said.environ,
            environ_error=said.error,
            cgroup=cgroup,
            command=said.command,
        )
        if previous is None or previous.facts.key != facts.key:
            self._noticed(facts)
        return _Entry(facts, comm, now, whose if said.late else None)

    def _readable_by_now(self, entry: _Entry) -> bool:
        return entry.late is not None and not self._patience.stuck(entry.late)

    def _said(self, home: _Descriptor, whose: Hashable) -> _Said:
        """What lies in the process's memory, whose lock it can hold for as long as it likes."""
        try:
            return self._patience.ask(whose, lambda: self._read_memory(home))
        except StuckError as error:
            return _Said(error=str(error), late=True)

    def _read_memory(self, home: _Descriptor) -> _Said:
        command = ""
        if self._command:
            text = _text_of("cmdline", home, COMMAND_LIMIT)
            command = text.rstrip("\0").replace("\0", " ")
        try:
            environ = variables(_read("environ", home, ENVIRON_LIMIT), self._wants)
        except OSError as error:
            return _Said(command, error=error.strerror or str(error))
        return _Said(command, environ)


def _open(name: str, home: _Descriptor) -> int:
    return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=home.fd)


def _read(name: str, home: _Descriptor, limit: int) -> bytes:
    """The file's first `limit` bytes. Raises OSError."""
    with open(_open(name, home), "rb") as file:  # relative to a directory
        return file.read(limit)


def _text_of(name: str, home: _Descriptor, limit: int) -> str:
    try:
        return _read(name, home, limit).decode("utf-8", "replace")
    except OSError:
        return ""


def _invisible(pid: int, now: float, previous: _Entry | None) -> _Entry:
    # Drivers list a process a little longer than /proc does: it keeps its name to the end.
    if previous is not None:
        previous.seen = now
        return previous
    return _Entry(ProcessFacts(ProcessKey(pid, 0), started=0.0, visible=False), None, now)


def _parse_stat(raw: bytes) -> tuple[str, int]:
    """Command name and start (clock ticks since boot, field 22) of proc_pid_stat(5)."""
    opening, closing = raw.index(b"("), raw.rindex(b")")
    fields = raw[closing + 2 :].split(None, 20)
    return raw[opening + 1 : closing].decode("utf-8", "replace"), int(fields[19])


def _boot_time(proc: Path) -> int:
    """Boot of the host, seconds since the epoch (`btime` of proc_stat(5)); 0 if not told."""
    for line in _text(proc / "stat").splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
