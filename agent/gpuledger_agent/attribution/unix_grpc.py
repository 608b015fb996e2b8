"""Questions to a gRPC server on a unix socket of this host, each with a limit of time and size."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import grpc

from gpuledger_agent.attribution.base import SourceError

MAX_MESSAGE = 16 << 20
"""Bytes of an answer; what containerd and the kubelet allow each other."""

MAX_REASON = 200
"""Characters of an error message that are passed on."""

_OPTIONS = (
    # By default the authority is the escaped path of the socket, which strict servers refuse
    # (https://github.com/grpc/grpc/issues/38142).
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)

Stub = TypeVar("Stub")
Question = TypeVar("Question")
Answer = TypeVar("Answer")


class CallError(SourceError):
    """A call that failed; `code` is gRPC's."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Deadline:
    """A moment by which several calls together must have ended."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, not below zero."""
        return max(self._end - time.monotonic(), 0.0)


class UnixService(Generic[Stub]):
    """A service behind a unix socket; `stub` makes its stub for a channel. Used by one thread."""

    def __init__(self, socket: Path, stub: Callable[[grpc.Channel], Stub]) -> None:
        self._socket = socket
        self._make_stub = stub
        self._channel: grpc.Channel | None = None
        self._stub: Stub | None = None

    def present(self) -> bool:
        """Whether the socket is there."""
        try:
            return stat.S_ISSOCK(self._socket.stat().st_mode)
        except OSError:
            return False

    @property
    def stub(self) -> Stub:
        """The stub of an open channel."""
        if self._stub is None:
            address = f"unix:{quote(os.fsencode(self._socket.absolute()))}"
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
            self._stub = self._make_stub(self._channel)
        return self._stub

    def ask(
        self,
        method: grpc.UnaryUnaryMultiCallable[Question, Answer],
        question: Question,
        deadline: Deadline,
    ) -> Answer:
        """The answer of one of the stub's methods. Raises CallError."""
        left = deadline.left()
        if not left:
            raise _too_late(deadline)
        try:
            return method(question, timeout=left)
        except grpc.RpcError as error:
            failed = _call_error(error, deadline)
            if failed.code is grpc.StatusCode.UNAVAILABLE:
                # This channel would pause before it connects again; a new one does so at once.
                self.close()
            raise failed from None

    def close(self) -> None:
        """Close the channel; the next question opens another."""
        if self._channel is not None:
            self._channel.close()
        self._channel = self._stub = None


def _too_late(deadline: Deadline) -> CallError:
    return CallError(
        grpc.StatusCode.DEADLINE_EXCEEDED, f"took longer than {deadline.seconds:g} seconds"
    )


def _call_error(error: grpc.RpcError, deadline: Deadline) -> CallError:
    # What grpc raises on the client is a Call too, which its stubs cannot express.
    call: Any = error
    code = call.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return _too_late(deadline)
    details = " ".join((call.details() or "").split())
    return CallError(code, f"{code.name}: {details[:MAX_REASON]}")
