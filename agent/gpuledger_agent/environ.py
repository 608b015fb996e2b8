"""Environments of processes, as /proc/PID/environ holds them (proc_pid_environ(5))."""

from __future__ import annotations

from collections.abc import Callable

from gpuledger_agent.attribution.base import MAX_VALUE_BYTES

ENVIRON_LIMIT = 1 << 20
"""Bytes of an environment that are looked at; the kernel allows far larger ones."""

MAX_VARIABLES = 16_384
"""Variables that are looked at; a pod among a thousand services has seven for each."""


def variables(raw: bytes, wants: Callable[[str], bool]) -> dict[str, str]:
    """The variables that are wanted, but for those longer than MAX_VALUE_BYTES.

    `raw` is the file's beginning, ENVIRON_LIMIT bytes of it at most.
    """
    # What follows the last NUL was cut off by the limit, and could pass for another value.
    whole = raw if len(raw) < ENVIRON_LIMIT else raw[: raw.rfind(b"\0") + 1]
    found = {}
    for item in whole.split(b"\0", MAX_VARIABLES)[:MAX_VARIABLES]:
        name, equals, value = item.partition(b"=")
        key = name.decode("utf-8", "replace")
        if equals and len(value) <= MAX_VALUE_BYTES and wants(key):
            found[key] = value.decode("utf-8", "replace")
    return found
