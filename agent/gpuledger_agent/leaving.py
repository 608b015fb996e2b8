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
        # Nobody reads it any more, or it was closed for that reason.
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    os._exit(code or 0)
