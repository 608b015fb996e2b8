"""From the spool to a collector: one gRPC stream, repeated until everything is acknowledged."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import grpc

from gpuledger_agent.dial import Dialer, Trust, reason
from gpuledger_agent.encode import row_count
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub

log = logging.getLogger(__name__)

BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 60.0

SILENCE_S = 120.0
"""A collector that owes answers and has given none for this long may be stuck; another connect
may reach a better one. (A dead network is noticed sooner, by keepalive.)"""

CHECK_S = 5.0
"""How often a waiting stream looks at the silence."""


@dataclass(slots=True)
class StreamCounters:
    """What the uplink has done since the agent started."""

    connected: bool = False
    connects: int = 0
    batches_sent: int = 0
    rows_acked: int = 0
    rows_refused: int = 0
    batches_refused: int = 0


class Uplink:
    """Keeps one stream to a collector going. `run` blocks; call it from a thread of its own.

    `hello` is asked for the present inventory at every connect and whenever `reintroduce` was
    called. Collector addresses are tried in turn, with full-jitter backoff between rounds
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(
        self,
        addresses: Sequence[str],
        spool: Spool,
        hello: Callable[[], wire.Hello],
        dialer: Dialer | None = None,
    ) -> None:
        self._addresses = tuple(addresses)
        self._spool = spool
        self._hello = hello
        self._dialer = dialer or Dialer(Trust())
        self._stop = threading.Event()
        self._session: _Session | None = None
        self._lost_at: float | None = None
        self.counters = StreamCounters()

    def run(self) -> None:
        """Connect, stream, and start over when the stream ends; until `stop`."""
        attempt = 0
        while not self._stop.is_set():
            address = self._addresses[attempt % len(self._addresses)]
            answered = self._stream(address)
            attempt = 0 if answered else attempt + 1
            if not self._stop.is_set():
                limit = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(attempt, 10))
                # Jitter against a thundering herd, not a secret.
                self._stop.wait(random.uniform(0, limit))  # noqa: S311

    def stop(self) -> None:
        """End `run` soon; what is unanswered stays in the spool."""
        self._stop.set()
        if self._session is not None:
            self._session.end()

    def reintroduce(self) -> None:
        """Send Hello again, since the inventory changed."""
        if self._session is not None:
            self._session.reintroduce()

    def _stream(self, address: str) -> bool:
        """One stream from Hello to its end; whether the collector welcomed us."""
        session = self._session = _Session(
            self._spool, self._hello, self.counters, self._dialer.outdated
        )
        if self._stop.is_set():
            return False
        try:
            with self._dialer.channel(address) as channel:
                told = self._dialer.metadata()
                call = TelemetryStub(channel).Stream(session.outgoing(), metadata=told)
                session.begin(call.cancel)
                for message in call:
                    session.incoming(message)
                    if session.welcomed and not self.counters.connected:
                        self._reached(address)
                why = "the collector ended the stream"
                # Well, so that another begins: nothing that anybody need know.
                session.left = session.welcomed
        except grpc.RpcError as error:
            why = session.gave_up or reason(error)
        finally:
            self.counters.connected = False
            session.end()
        if not self._stop.is_set() and not session.left:
            self._lost(address, why)
        return session.welcomed

    def _reached(self, address: str) -> None:
        self.counters.connected = True
        self.counters.connects += 1
        if self._lost_at is None:
            log.info("event=collector_connected address=%s", address)
        else:
            away_s = time.monotonic() - self._lost_at
            log.info("event=collector_connected address=%s after_s=%.1f", address, away_s)
        self._lost_at = None

    def _lost(self, address: str, why: str) -> None:
        """Say it once an outage, however many attempts that takes."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            log.warning(
                "event=collector_unreachable address=%s reason=%r windows wait in the spool",
                *(address, why),
            )


class _Session:
    """One stream: what was sent on it and what is still unanswered.

    What is appended while it lasts goes first, so that the present is never behind a backlog; what
    was there before it began, by age, as far as the collector allows.
    """

    def __init__(
        self,
        spool: Spool,
        hello: Callable[[], wire.Hello],
        counters: StreamCounters,
        outdated: Callable[[], bool],
    ) -> None:
        self._spool = spool
        self._hello = hello
        self._counters = counters
        self._outdated = outdated
        self._wake = spool.appended
        self._cancel: Callable[[], object] = lambda: None
        self._ended = False
        self._leaving = False
        self._introduce = True
        self._opened = spool.opened
        self._unanswered: dict[int, int] = {}
        self._sent_until = self._backlog_end = spool.newest
        self._backlog_sent = 0
        self._max_in_flight = 0
        self._heard_at = time.monotonic()
        self.welcomed = False
        self.left = False
        """Whether the stream ended well, for another one to begin."""
        self.gave_up = ""
        """Why the agent itself cut the stream short; "" if it did not."""

    def begin(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        if self._ended:  # before there was anything to cancel
            cancel()

    def end(self) -> None:
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        self._cancel()

    def reintroduce(self) -> None:
        with self._wake:
            self._introduce = True
            self._wake.notify_all()

    def outgoing(self) -> Iterator[wire.AgentMessage]:
        """What the agent says; gRPC takes it from here at the pace of the network."""
        while True:
            self._leaving = self._leaving or self._outdated()
            with self._wake:
                ready = self._wake.wait_for(self._something_to_do, CHECK_S)
                if self._ended:
                    return
                if self._spool.opened != self._opened:
                    # What is in the file again may lie before what was sent.
                    self._give_up("the spool was opened afresh, the stream starts over")
                    return
                if self._may_leave():
                    self.left = True
                    self._cancel()
                    return
                introduce, self._introduce = self._introduce, False
            if introduce:
                yield wire.AgentMessage(hello=self._hello())
                continue
            if not ready:
                self._check_silence()
                continue
            batch = self._next()
            if batch is not None:
                with self._wake:
                    self._unanswered[batch.sequence] = row_count(batch)
                self._counters.batches_sent += 1
                yield wire.AgentMessage(batch=batch)

    def _next(self) -> wire.Batch | None:
        """The batch to send now; None if all were answered on earlier streams, or dropped."""
        newest = self._spool.newest
        if self._sent_until < newest:
            found = self._spool.after(self._sent_until, 1)
            self._sent_until = found[0].sequence if found else newest
            return found[0] if found else None
        found = self._spool.after(self._backlog_sent, 1)
        if not found or found[0].sequence > self._backlog_end:
            self._backlog_sent = self._backlog_end
            return None
        self._backlog_sent = found[0].sequence
        return found[0]

    def incoming(self, message: wire.CollectorMessage) -> None:
        """What the collector says."""
        self._heard_at = time.monotonic()
        match message.WhichOneof("body"):
            case "welcome":
                self.welcomed = True
                with self._wake:
                    self._max_in_flight = max(message.welcome.max_in_flight, 1)
                    self._wake.notify_all()
            case "ack":
                rows = self._answered(message.ack.sequences)
                self._counters.rows_acked += sum(rows.values())
                self._spool.forget(list(rows))
            case "refusal":
                self._refused(message.refusal)
            case _:
                pass  # a newer collector may say more

    def _refused(self, refusal: wire.Refusal) -> None:
        answered = self._answered([refusal.sequence])
        rows = sum(answered.values())
        refused = rows if refusal.whole_batch else min(refusal.rows_refused, rows)
        self._counters.rows_refused += refused
        self._counters.rows_acked += rows - refused
        self._counters.batches_refused += 1
        log.error(
            "event=batch_refused sequence=%d rows=%d of=%d reason=%r",
            *(refusal.sequence, refused, rows, refusal.reason),
        )
        for sequence in answered:
            if refusal.whole_batch:
                self._spool.set_aside(sequence, refusal.reason)
            else:
                self._spool.forget([sequence])

    def _answered(self, sequences: Iterable[int]) -> dict[int, int]:
        """Strike these off; return the rows of each that was sent here and had no answer yet."""
        with self._wake:
            known = [s for s in dict.fromkeys(sequences) if s in self._unanswered]
            rows = {s: self._unanswered.pop(s) for s in known}
            self._wake.notify_all()
        return rows

    def _may_send(self) -> bool:
        waits = self._sent_until < self._spool.newest or self._backlog_sent < self._backlog_end
        room = not self._leaving and len(self._unanswered) < self._max_in_flight
        return waits and room

    def _may_leave(self) -> bool:
        return self._leaving and not self._unanswered

    def _something_to_do(self) -> bool:
        over = self._ended or self._may_leave() or self._spool.opened != self._opened
        return over or self._introduce or self._may_send()

    def _check_silence(self) -> None:
        owes = bool(self._unanswered) or not self.welcomed
        if owes and time.monotonic() - self._heard_at > SILENCE_S:
            self._give_up(f"no answer for {SILENCE_S:g} s")

    def _give_up(self, why: str) -> None:
        # First: the cancelled call is looked at in another thread.
        self.gave_up = why
        self._cancel()
