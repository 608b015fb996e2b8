"""Keeps a process to its own files, by the kernel's Landlock (Linux 5.13 and newer).

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

# Three system calls, with the same numbers on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38

# Rights on files, as bits; version 2 brought the 14th, version 3 the 15th.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Version of the kernel's Landlock; 0 if there is none or we may not use it."""
    try:
        return _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def confine(writable: Iterable[Path], readable: Iterable[Path]) -> None:
    """Let this thread, and all that it starts, touch only what lies at or below these paths.

    It cannot be undone, and root is bound by it as well. Paths that do not exist are left out.
    Call it where `version` is above 0, before there are other threads. Raises OSError.
    """
    rights = _RIGHTS[min(version(), max(_RIGHTS))]
    ruleset = _call(_CREATE_RULESET, struct.pack("=Q", rights), 8, 0)
    try:
        for allowed, paths in ((rights, writable), (rights & _READING, readable)):
            for path in paths:
                if path.exists():
                    _allow(ruleset, path, allowed)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, allowed: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = allowed if path.is_dir() else allowed & _OF_A_FILE
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, opened), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
