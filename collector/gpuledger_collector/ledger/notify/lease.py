"""Who sends: one collector at a time, by claims that are read in the same order by all.

A claim is a row with an end. Of the claims that have not ended the earliest holds. All times are
ClickHouse's. Whoever claims looks whether its row was there within `settle_s` of its time, and
gives up if it was not; then it waits so long that every earlier claim must be there too, and only
then looks whether its own is the earliest. So no two hold at once, as long as ClickHouse's
clock does not step back and its answers show all that was written (one server, or replicas read
in sequence). docs/notifications.md says what happens where that does not hold.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from gpuledger_agent.log import Once
from gpuledger_collector.ledger.notify.dial import CONNECT_S, LIMIT_S

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""How long a collector that is gone keeps others waiting."""

SETTLE_S = 2.0
"""Longer than a claim takes to be written."""

NEED_S = 2 * CONNECT_S + LIMIT_S
"""Longer than one message takes: so long must a lease still hold when it is sent."""

_LATEST = """
SELECT holder, min(said_at) AS begun, argMax(l.until, l.said_at) AS until
FROM notifier_leases AS l
GROUP BY holder
HAVING until > now64(6, 'UTC')
ORDER BY begun, holder
LIMIT 1
"""

_SAY = """
INSERT INTO notifier_leases (holder, said_at, until)
SELECT {holder:String}, now64(6, 'UTC') AS at, at + toIntervalMillisecond({lease_ms:Int64})
"""

_STANDS = """
SELECT
    now64(6, 'UTC') < min(said_at) + toIntervalMillisecond({settle_ms:Int64}),
    now64(6, 'UTC') < {until:DateTime64(6, 'UTC')},
    argMax(l.until, l.said_at)
FROM notifier_leases AS l
WHERE holder = {holder:String}
"""


def _awake_or_not() -> float:
    """Seconds that also count while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One collector's claim to be the one that sends. Used by one thread at a time.

    It outlives connections. `need_s`: for how long it must still hold to count as held; `clock` is
    monotonic, in seconds.
    """

    def __init__(
        self,
        lease_s: float = LEASE_S,
        settle_s: float = SETTLE_S,
        need_s: float = NEED_S,
        clock: Callable[[], float] = _awake_or_not,
    ) -> None:
        self._lease_s = lease_s
        self._settle_s = settle_s
        self._need_s = need_s
        self._clock = clock
        self._holder = ""
        self._ends = 0.0
        self._once = Once(log)

    @property
    def holder(self) -> str:
        """The name of the claim that holds; "" while none does."""
        return self._holder if self.left_s() > 0 else ""

    def left_s(self) -> float:
        """Seconds for which nobody else can hold; 0 or less: somebody else may."""
        return self._ends - self._clock() if self._holder else 0.0

    def hold(self, client: Client, stop: threading.Event) -> bool:
        """Claim or renew, and return whether it holds for as long as is needed.

        Raises ClickHouseError; then nothing is known to have changed.
        """
        if self.left_s() > max(self._need_s, self._lease_s / 2):
            return True
        if self.left_s() > 0:
            self._renew(client)
        if self.left_s() <= 0:
            self._claim(client, stop)
        return self.left_s() > self._need_s

    def release(self, client: Client) -> None:
        """Let the next one claim at once. Raises ClickHouseError."""
        holder, self._holder = self._holder, ""
        if holder:
            self._say(client, holder, 0.0)

    def _claim(self, client: Client, stop: threading.Event) -> None:
        self._holder = ""
        if client.query(_LATEST).result_rows:
            return
        holder = secrets.token_hex(8)
        began = self._clock()
        self._say(client, holder, self._lease_s)
        seen_in_time, _, _ = self._read(client, holder)
        if seen_in_time:
            self._once.over("late", "event=notify_claim_works_again")
        else:
            self._once.warning("late", "event=notify_claim_late ClickHouse takes longer than"
                               " %gs to write it; until it is faster nobody may be told",
                               self._settle_s)  # fmt: skip
        if seen_in_time and not stop.wait(self._settle_s):
            latest = client.query(_LATEST).result_rows
            if latest and latest[0][0] == holder:
                self._holder, self._ends = holder, began + self._lease_s
                return
        self._say(client, holder, 0.0)

    def _renew(self, client: Client) -> None:
        """Renew a claim that holds: believed only if it was there before the old one ended."""
        _, _, until = self._read(client, self._holder)
        began = self._clock()
        self._say(client, self._holder, self._lease_s)
        _, in_time, _ = self._read(client, self._holder, str(until))
        if in_time:
            self._ends = began + self._lease_s
        else:
            self.release(client)

    def _say(self, client: Client, holder: str, lease_s: float) -> None:
        client.command(_SAY, parameters={"holder": holder, "lease_ms": round(1000 * lease_s)})

    def _read(
        self, client: Client, holder: str, until: str = "1970-01-01 00:00:00"
    ) -> tuple[bool, bool, str]:
        """Whether the claim was there in time, whether `until` is to come, and its end."""
        settle_ms = round(1000 * self._settle_s)
        parameters = {"holder": holder, "until": until, "settle_ms": settle_ms}
        [(seen, to_come, end)] = client.query(_STANDS, parameters=parameters).result_rows
        return bool(seen), bool(to_come), end
