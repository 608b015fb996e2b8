"""A process that holds the lock of its own memory, as any user with FUSE can make one do.

It unmaps a page that it wrote to, of a file whose server never takes the page back, while another
of its threads wants to map something. From then on whoever reads its environment waits.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until

HOLDER = """
import ctypes, mmap, os, sys, threading
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
page = libc.mmap(None, 4096, 3, mmap.MAP_SHARED, os.open(sys.argv[1], os.O_RDWR), 0)
ctypes.memset(page, 1, 1)
def map_more():
    sys.stdin.read(1)
    libc.mmap(None, 4096, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
threading.Thread(target=map_more).start()
libc.munmap(page, 4096)
"""

LOOKUP, GETATTR, OPEN, READ, WRITE, INIT = 1, 3, 14, 15, 16, 26  # of linux/fuse.h
FORGET, FLUSH, RELEASE, NOT_IMPLEMENTED = 2, 25, 18, -38
MNT_FORCE, MNT_DETACH = 1, 2


def _attributes(inode: int, mode: int) -> bytes:
    return struct.pack("<6Q10I", inode, 4096, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(operation: int, node: int) -> bytes | None:
    file = _attributes(2, 0o100666)
    return {
        INIT: struct.pack("<4I2H2I2H7I", 7, 31, 65536, 0, 0, 0, 65536, 1, *[0] * 9),
        LOOKUP: struct.pack("<4Q2I", 2, 0, 100, 100, 0, 0) + file,
        GETATTR: struct.pack("<Q2I", 100, 0, 0) + (_attributes(1, 0o40777) if node == 1 else file),
        OPEN: struct.pack("<Q2I", 1, 0, 0),
        READ: bytes(4096),
        FLUSH: b"",
        RELEASE: b"",
    }.get(operation)


def _serve(descriptor: int, held: threading.Event) -> None:
    """Answer everything but a write. Ends with the file system."""
    while True:
        try:
            asked = os.read(descriptor, 1 << 18)
        except OSError:
            return
        operation, unique, node = struct.unpack_from("<IQQ", asked, 4)
        if operation == WRITE:
            held.set()
        elif operation != FORGET:
            found = _answer(operation, node)
            error, body = (NOT_IMPLEMENTED, b"") if found is None else (0, found)
            os.write(descriptor, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


@contextmanager
def stuck_process(directory: Path, env: dict[str, str]) -> Iterator[int]:
    """Pid of such a process; at the end it is free. Skips the test where there is no FUSE."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"/dev/fuse: {error.strerror}")
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"test", os.fsencode(directory), b"fuse", 0, options):
        os.close(descriptor)
        pytest.skip(f"only root can mount: {os.strerror(ctypes.get_errno())}")
    held = threading.Event()
    server = threading.Thread(target=_serve, args=(descriptor, held))
    server.start()
    command = [sys.executable, "-S", "-c", HOLDER, str(directory / "file")]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE) as process:
        try:
            assert held.wait(20)
            assert process.stdin is not None
            process.stdin.write(b"x")
            process.stdin.flush()
            wait_until(lambda: _states(process.pid) == ["D", "D"])
            yield process.pid
        finally:
            process.kill()
            for flag in (MNT_FORCE, MNT_DETACH):
                libc.umount2(os.fsencode(directory), flag)
    server.join()
    os.close(descriptor)


def _states(pid: int) -> list[str]:
    """What each thread does; D if it waits and is not to be disturbed."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
