"""The collector's end of the wire, on a real socket, which says what a test tells it to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import (
    TelemetryServicer,
    add_TelemetryServicer_to_server,
)

PATIENCE_S = 30.0
SAN = "x509_subject_alternative_name"


class Session:
    """One stream of one agent: what it said, and what to answer."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.heard: queue.SimpleQueue[wire.AgentMessage] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[wire.CollectorMessage | None] = queue.SimpleQueue()
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.gone = threading.Event()
        self.metadata = dict(context.invocation_metadata())
        self.peer = [name.decode() for name in context.auth_context().get(SAN, [])]
        """Names in the certificate that the agent showed."""
        context.add_callback(self._over)

    def _over(self) -> None:
        self.gone.set()
        self.answers.put(None)

    def hear(self) -> wire.AgentMessage:
        """The next message. Raises queue.Empty if none comes."""
        return self.heard.get(timeout=PATIENCE_S)

    def hello(self) -> wire.Hello:
        message = self.hear()
        assert message.WhichOneof("body") == "hello", message
        return message.hello

    def batch(self) -> int:
        """Sequence of the next message, which is a batch."""
        message = self.hear()
        assert message.WhichOneof("body") == "batch", message
        return message.batch.sequence

    def batches(self, count: int) -> list[int]:
        return [self.batch() for _ in range(count)]

    def say(self, **body: object) -> None:
        self.answers.put(wire.CollectorMessage(**body))  # type: ignore[arg-type]

    def welcome(self, max_in_flight: int = 64) -> None:
        """Hear who speaks, and let it go on."""
        self.hello()
        self.say(welcome=wire.Welcome(max_in_flight=max_in_flight))

    def ack(self, *sequences: int) -> None:
        self.say(ack=wire.Ack(sequences=sequences))

    def refuse(self, sequence: int, reason: str, rows: int = 1, *, whole: bool = False) -> None:
        refusal = wire.Refusal(
            sequence=sequence, reason=reason, rows_refused=rows, whole_batch=whole
        )
        self.say(refusal=refusal)

    def end(self, code: grpc.StatusCode | None = None, details: str = "") -> None:
        """End the stream after what has been said; with a code, as a failure."""
        if code is not None:
            self.failure = (code, details)
        self.answers.put(None)


class ScriptedCollector(TelemetryServicer):
    """Listens on loopback while entered; `session` waits for the next stream."""

    def __init__(
        self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self._sessions: queue.SimpleQueue[Session] = queue.SimpleQueue()
        self._all: list[Session] = []
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)]
        )
        add_TelemetryServicer_to_server(self, self._server)
        port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        self.address = f"127.0.0.1:{port}"

    def session(self) -> Session:
        """The next stream. Raises queue.Empty if none comes."""
        return self._sessions.get(timeout=PATIENCE_S)

    def Stream(  # noqa: N802  # the service's name for it
        self, request_iterator: Iterator[wire.AgentMessage], context: grpc.ServicerContext
    ) -> Iterator[wire.CollectorMessage]:
        session = Session(context)
        self._all.append(session)
        threading.Thread(target=_listen, args=(request_iterator, session), daemon=True).start()
        self._sessions.put(session)
        yield from iter(session.answers.get, None)
        if session.failure:
            context.abort(*session.failure)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in self._all:
            session.answers.put(None)
        self._server.stop(grace=0).wait()


def _listen(messages: Iterator[wire.AgentMessage], session: Session) -> None:
    try:
        for message in messages:
            session.heard.put(message)
    except Exception:  # noqa: BLE001  # grpc raises a bare Exception when the stream has ended
        session.gone.set()
