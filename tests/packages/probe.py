"""What a process may do that runs as a unit says; run inside of a machine, prints what it could."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from pathlib import Path

SOCKET = "/run/of-root/socket"
_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNET, _NEWNS = 0x40000000, 0x20000


def _connect() -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(SOCKET)


def _enter(kind: str, flag: int) -> None:
    descriptor = os.open(f"/proc/1/ns/{kind}", os.O_RDONLY)
    if _LIBC.setns(descriptor, flag):
        raise OSError(ctypes.get_errno(), kind)


def _mount() -> None:
    if _LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")


TRIED: dict[str, Callable[[], object]] = {
    "read environ": Path("/proc/1/environ").read_bytes,
    "write spool": lambda: Path("/var/lib/gpuledger-agent/probe").touch(),
    "write file": lambda: Path("/etc/probe").touch(),
    "write memory": lambda: Path("/proc/1/mem").open("r+b").close(),
    "write file by /proc": lambda: Path("/proc/1/root/etc/probe").touch(),
    "ask root's socket": _connect,
    "enter network": lambda: _enter("net", _NEWNET),
    "enter mounts": lambda: _enter("mnt", _NEWNS),
    "mount": _mount,
    "hear packets": lambda: socket.socket(socket.AF_PACKET).close(),
}

if __name__ == "__main__":
    for name, action in TRIED.items():
        try:
            action()
        except OSError:
            continue
        print(f"could {name}", flush=True)  # noqa: T201
