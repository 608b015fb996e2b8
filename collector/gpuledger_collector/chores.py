"""What a collector does beside receiving: roll-ups, findings, its certificates; a thread each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_agent.expiry import ExpiryWatch
from gpuledger_agent.log import Once
from gpuledger_agent.vital_thread import VitalThread
from gpuledger_collector.ledger.findings import Schedule
from gpuledger_collector.ledger.notify.config import NotifyConfig
from gpuledger_collector.ledger.notify.notifier import Notifier
from gpuledger_collector.ledger.notify.wording import Wording
from gpuledger_collector.ledger.rules import Rule
from gpuledger_collector.listening import Credentials
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line
from gpuledger_collector.window_age import WindowAge

log = logging.getLogger(__name__)

AGAIN_S = 5.0
"""After which ClickHouse is connected with again."""

LOOK_S = 60.0
"""Between looks at the certificates; a replaced one is also seen when an agent connects."""


@dataclass(frozen=True, slots=True)
class Chores:
    """Of one collector. Each works until `stop` is set, and outlives a ClickHouse that goes away.

    `rules` are evaluated every `findings_every_s` seconds, never if that is 0.
    """

    store: StoreConfig
    rules: tuple[Rule, ...]
    findings_every_s: float
    notify: NotifyConfig
    credentials: Credentials | None
    metrics: Metrics
    window_age: WindowAge
    stop: threading.Event

    def threads(self) -> list[VitalThread]:
        """Those that there is something to do for; they are the caller's to start."""
        return [VitalThread(name, work) for name, work in self._wanted()]

    def _wanted(self) -> Iterator[tuple[str, Callable[[], None]]]:
        if self.credentials is not None:
            yield "certificates", partial(self._watch, self.credentials)
        yield "retention", partial(self.window_age.follow, self.stop)
        yield "rollup", self._roll_up
        if self.rules and self.findings_every_s:
            yield "findings", self._evaluate_rules
        if self.notify.receivers:
            yield "notify", self._notify

    def _watch(self, credentials: Credentials) -> None:
        watch = ExpiryWatch()
        while not self.stop.is_set():
            watch.look(credentials.dates())
            self.stop.wait(LOOK_S)

    def _roll_up(self) -> None:
        def work(client: Client, once: Once) -> None:
            once.over("store", "event=rollup_begins")
            Rollup(client, refused=self.metrics.rollups_refused.inc).run(self.stop)

        self._with_store(work, "event=rollup_waits reason=%r")

    def _evaluate_rules(self) -> None:
        def work(client: Client, once: Once) -> None:
            once.over("store", "event=findings_begin")
            Schedule(client, self.rules, self.findings_every_s).run(self.stop)

        self._with_store(work, "event=findings_wait reason=%r")

    def _notify(self) -> None:
        wording = Wording({rule.name: rule for rule in self.rules}, self.notify.link)
        notifier = Notifier(self.notify, wording, self.metrics)

        def work(client: Client, once: Once) -> None:
            once.over("store", "event=notify_begins")
            notifier.run(client, self.stop)

        self._with_store(work, "event=notify_waits reason=%r")

    def _with_store(self, work: Callable[[Client, Once], None], waits: str) -> None:
        """Work over one connection, and over another whenever ClickHouse has been away."""
        once = Once(log)
        while not self.stop.is_set():
            try:
                with connect(self.store) as client:
                    work(client, once)
            except (StoreError, ClickHouseError, OSError) as error:
                once.warning("store", waits, one_line(error))
                self.stop.wait(AGAIN_S)
