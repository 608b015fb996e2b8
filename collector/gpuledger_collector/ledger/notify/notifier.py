"""Tells receivers what there is to tell, one collector at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.notify.complaints import Complaints
from gpuledger_collector.ledger.notify.composing import Bucket, Message, compose
from gpuledger_collector.ledger.notify.config import NotifyConfig, Receiver
from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.lease import Lease
from gpuledger_collector.ledger.notify.notice import FAILED, SENT, WAITING, Notice
from gpuledger_collector.ledger.notify.outbox import Outbox
from gpuledger_collector.ledger.notify.planning import Told, plan
from gpuledger_collector.ledger.notify.wording import Wording
from gpuledger_collector.metrics import Metrics

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""Between looking for something to tell."""

BACKOFF_S = 10.0
BACKOFF_MAX_S = 1800.0
"""After a first failure, and at most: it doubles in between."""

PATIENCE = timedelta(days=3)
"""After which a notice that failed again is given up."""

MESSAGE_ATTEMPTS = 3
"""After which a message that the receiver objects to is given up, so that others get their turn."""


class Notifier:
    """Uses one thread at a time; outlives connections to ClickHouse. `clock`: UTC epoch seconds."""

    def __init__(
        self,
        config: NotifyConfig,
        wording: Wording,
        metrics: Metrics,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.time,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        self._config = config
        self._wording = wording
        self._metrics = metrics
        self._lease = lease or Lease()
        self._clock = clock
        self._backoff_s = backoff_s
        self._complaints = Complaints()
        self._buckets: dict[str, Bucket] = {}
        self._counted_for = ""
        self._renewed: dict[str, datetime] = {}
        self._unsaved: list[Notice] = []

    def run(self, client: Client, stop: threading.Event, pause_s: float = PAUSE_S) -> None:
        """Tell until `stop` is set. Raises ClickHouseError if ClickHouse goes away."""
        while not stop.is_set():
            self.run_once(client, stop)
            stop.wait(pause_s)
        self._lease.release(client)

    def run_once(self, client: Client, stop: threading.Event) -> bool:
        """Tell what may be told now; return False if another collector does that."""
        outbox = Outbox(client)
        if self._unsaved:
            outbox.save(self._unsaved)
            self._unsaved = []
        if not self._lease.hold(client, stop):
            self._metrics.notifications_waiting.clear()
            self._metrics.notifier_leads.set(0)
            return False
        self._metrics.notifier_leads.set(1)
        now = outbox.now()
        self._count_sent(outbox, now)
        found, told = outbox.found(), outbox.standing()
        known = [each for each in told if each.last.receiver in self._config.receivers]
        outbox.save(plan(found, known, self._config.route, now))
        waiting = outbox.waiting()
        for receiver in self._config.receivers.values():
            left = self._serve(client, stop, receiver, waiting.get(receiver.name, []))
            self._metrics.notifications_waiting.labels(receiver.name).set(left)
        open_now = {finding.id for finding in found if finding.state == "open"}
        self._renew(client, stop, [each for each in told if each.last.finding in open_now])
        return True

    def _serve(
        self, client: Client, stop: threading.Event, receiver: Receiver, waiting: Sequence[Notice]
    ) -> int:
        """Send what may go to one receiver; return how many notices still wait."""
        outbox = Outbox(client)
        left, now = len(waiting), outbox.now()
        if any(notice.not_before > now for notice in waiting):
            return left
        bucket = self._buckets[receiver.name]
        room = bucket.room(now)
        messages = compose(waiting, room, always_join=receiver.channel.joins)
        # An attempt whose answer is lost, with us or without, must be repeated as it was.
        outbox.save(chain.from_iterable(m.notices for m in messages if not m.known))
        for message in messages:
            if stop.is_set() or not self._lease.hold(client, stop):
                break
            bucket.take(outbox.now())
            told = self._send(receiver, message, outbox.now())
            self._unsaved = list(told)
            outbox.save(told)
            self._unsaved = []
            if any(notice.state == WAITING for notice in told):
                break
            left -= len(told)
        return left

    def _send(self, receiver: Receiver, message: Message, now: datetime) -> list[Notice]:
        """One attempt; the notices as they are afterwards."""
        try:
            with _tripping(receiver, message.id):
                receiver.channel.send(message, self._wording, self._clock())
        except SendError as error:
            self._metrics.notifications_failed.labels(receiver.name).inc()
            self._complaints.about(receiver.name, error)
            return self._failed(receiver, message, error, now)
        self._complaints.none(receiver.name)
        self._metrics.notifications_sent.labels(receiver.name).inc()
        return [replace(notice, state=SENT, fault="") for notice in message.notices]

    def _failed(
        self, receiver: Receiver, message: Message, error: SendError, now: datetime
    ) -> list[Notice]:
        attempts = 1 + max(notice.attempts for notice in message.notices)
        old = now - min(notice.noticed_at for notice in message.notices)
        give_up = old > PATIENCE or (error.of_message and attempts >= MESSAGE_ATTEMPTS)
        if give_up:
            self._metrics.notifications_given_up.labels(receiver.name).inc()
            log.error("event=notify_gives_up receiver=%s message=%s notices=%d attempts=%d"
                      " reason=%r", receiver.name, message.id, len(message.notices), attempts,
                      error.reason)  # fmt: skip
        wait = min(self._backoff_s * 2 ** min(attempts - 1, 20), BACKOFF_MAX_S)
        again = now + timedelta(seconds=max(wait, error.retry_after_s))
        return [
            replace(
                notice,
                state=FAILED if give_up else WAITING,
                attempts=attempts,
                not_before=again,
                fault=error.reason,
            )
            for notice in message.notices
        ]

    def _renew(self, client: Client, stop: threading.Event, told: Sequence[Told]) -> None:
        """Tell again what is open, to receivers that forget it otherwise."""
        now = Outbox(client).now()
        for receiver in self._config.receivers.values():
            every = receiver.channel.renew_s
            last = self._renewed.get(receiver.name)
            if not every or (last and (now - last).total_seconds() < every):
                continue
            if stop.is_set() or not self._lease.hold(client, stop):
                return
            # What was given up, too: it is the state that is told here, not its changes.
            standing = [t.last for t in told if t.last.receiver == receiver.name]
            self._renewed[receiver.name] = now
            try:
                if standing:
                    with _tripping(receiver, "renewed"):
                        receiver.channel.renew(standing, self._wording, self._clock())
                    self._complaints.none(receiver.name)
            except SendError as error:
                self._metrics.notifications_failed.labels(receiver.name).inc()
                self._complaints.about(receiver.name, error)

    def _count_sent(self, outbox: Outbox, now: datetime) -> None:
        """Begin with buckets as others left them."""
        if self._counted_for == self._lease.holder:
            return
        since = now - timedelta(days=1)
        receivers = self._config.receivers.values()
        self._buckets = {r.name: Bucket(r.burst, r.per_minute, since) for r in receivers}
        for name in self._buckets:
            # A counter that appears with its first count does not rise for Prometheus.
            self._metrics.notifications_failed.labels(name)
            self._metrics.notifications_given_up.labels(name)
        for name, at in outbox.sent(since):
            if name in self._buckets:
                self._buckets[name].take(at)
        self._counted_for = self._lease.holder
        log.info("event=notify_leads receivers=%s", ",".join(self._buckets))


@contextmanager
def _tripping(receiver: Receiver, message: str) -> Iterator[None]:
    """What one message trips over must not end the telling of all others."""
    try:
        yield
    except SendError:
        raise
    except Exception as error:
        log.exception("event=notify_bug receiver=%s message=%s", receiver.name, message)
        raise SendError("bug", type(error).__name__, of_message=True) from error
