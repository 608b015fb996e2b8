"""Network namespaces of processes: who listens there, and sockets that reach no further than that.

A container's server is spoken to over the loopback of its own network namespace, which no label,
route or name leads out of. To make a socket there takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MAX_TABLE_BYTES = 4 << 20
"""Of a table of sockets: some 25,000 of them."""

MAX_FILES = 4_096
"""Open files of a process that are looked at."""

_LISTENS = " 0A "
_CLONE_NEWNET = 0x40000000
_INIT, _KTHREADD = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens for TCP. `address` is where to reach it in its own namespace."""

    address: str
    port: int
    inode: int


def namespace(pid: int, proc: Path) -> int:
    """The inode that tells a process's network namespace. Raises OSError."""
    return (proc / str(pid) / "ns/net").stat().st_ino


@cache
def own_namespace() -> int:
    """The network namespace that the agent is in."""
    return namespace(os.getpid(), Path("/proc"))


def shared_namespaces(proc: Path) -> frozenset[int]:
    """Those that are no workload's own: the agent's, and the host's.

    The host's first process is there, and its kernel's, which is easier to look at.
    """
    found = {own_namespace()}
    for pid in (_INIT, _KTHREADD):
        with contextlib.suppress(OSError):
            found.add(namespace(pid, proc))
    return frozenset(found)


def listeners(pid: int, proc: Path) -> list[Listener]:
    """All that listen in the network namespace of this process. Raises OSError."""
    found = []
    for name in ("tcp", "tcp6"):
        with (proc / str(pid) / "net" / name).open("rb") as file:
            text = file.read(MAX_TABLE_BYTES).decode("ascii", "replace")
        found += [one for line in text.splitlines()[1:] if (one := _listener(line))]
    return found


def sockets_of(pid: int, proc: Path) -> Iterator[tuple[int, str]]:
    """Inodes of the sockets that a process holds, and the link in /proc that says so."""
    with os.scandir(proc / str(pid) / "fd") as files:
        for file in islice(files, MAX_FILES):
            inode = socket_at(file.path)
            if inode:
                yield inode, file.path


def socket_at(link: str) -> int:
    """The inode of the socket that an open file is; 0 for any other, and for none."""
    try:
        target = os.readlink(link)  # noqa: PTH115  # a third of what Path takes
    except OSError:
        return 0
    return int(target[8:-1]) if target.startswith("socket:[") else 0


def within(pid: int, inode: int, proc: Path, call: Callable[[], T]) -> T:
    """What a short call returns or raises, made in the network namespace of this process.

    Raises ProcessLookupError if that is not this namespace any more, PermissionError if we may not
    enter it, and other OSErrors.
    """
    descriptor = os.open(proc / str(pid) / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_ino != inode:
            raise ProcessLookupError(f"pid {pid} is another process now")
        return _in_thread(partial(_inside, descriptor, call))
    finally:
        os.close(descriptor)


def is_local(address: str) -> bool:
    """Whether packets to this address stay here: only then the kernel sends from that same address.

    Anybody may listen at a foreign one (IP_FREEBIND).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # of which nothing is sent
        try:
            probe.connect((address, 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == address)


def _in_thread(call: Callable[[], T]) -> T:
    """Made in a thread that ends with it, as a namespace is a thread's own."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001  # raised again, where it is asked for
            answer.set_exception(error)

    thread = threading.Thread(target=work, name="namespace", daemon=True)
    thread.start()
    return answer.result()


def _inside(namespace_fd: int, call: Callable[[], T]) -> T:
    if _libc.setns(namespace_fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return call()


def _listener(line: str) -> Listener | None:
    """One line of /proc/PID/net/tcp (proc_pid_net(5))."""
    if _LISTENS not in line:
        return None
    fields = line.split(None, 10)
    if len(fields) < 10 or fields[3] != _LISTENS.strip():
        return None
    try:
        host, port = fields[1].split(":")
        return Listener(_reachable(_address(host)), int(port, 16), int(fields[9]))
    except ValueError:
        return None


def _address(text: str) -> IPv4Address | IPv6Address:
    """Words of 32 bits, each in the order of the machine's bytes."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    raw = b"".join(word[::-1] if _LITTLE else word for word in words)
    return ip_address(raw)


_LITTLE = socket.htons(1) != 1


def _reachable(bound: IPv4Address | IPv6Address) -> str:
    mapped = bound.ipv4_mapped if isinstance(bound, IPv6Address) else None
    address = mapped or bound
    if address.is_unspecified:
        return "127.0.0.1" if isinstance(address, IPv4Address) else "::1"
    return str(address)
