"""How a process ends when its work is done."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(code: int | None) -> NoReturn:
    """End with this exit code, None being 0, without taking the interpreter down first.

    gRPC's threads outlive its channels, and an interpreter that is taken down beneath them may wait
    for ever (grpc/grpc#20026). All that must outlast the process is written by now.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
    os._exit(code or 0)
