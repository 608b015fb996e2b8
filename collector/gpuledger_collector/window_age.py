"""How old a window may be that still counts: what the retention in the database says."""

from __future__ import annotations

import math
import threading
from contextlib import suppress

from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line

FOLLOW_S = 60.0
"""Between looks at the retention, which seldom changes."""

_DAY_S = 86_400

_KEPT = """
SELECT
    toUnixTimestamp(raw_from),
    (SELECT argMax(days, applied_at) FROM retention WHERE kind = 'raw')
FROM kept_from
"""


class WindowAge:
    """Until `read` has been called every window is young enough. Any thread may ask."""

    def __init__(self, store: StoreConfig) -> None:
        self._store = store
        self._since = 0.0
        self._past_s = math.inf

    def oldest(self, now: float) -> float:
        """Start of the oldest window that can still count; seconds since the epoch, as `now`.

        A day less than the retention, as a day is dropped whole; and no day of which windows have
        gone already, under an earlier retention.
        """
        return max(now - self._past_s, self._since)

    def read(self) -> None:
        """Read the retention. Raises StoreError."""
        with connect(self._store) as client:
            try:
                [(since, days)] = client.query(_KEPT).result_rows
            except ClickHouseError as error:
                raise StoreError(one_line(error)) from error
        self._since = float(since)
        self._past_s = (days - 1) * _DAY_S if days else math.inf

    def follow(self, stop: threading.Event) -> None:
        """Read it again and again, until `stop` is set. While the store is away the last counts."""
        while not stop.wait(FOLLOW_S):
            with suppress(StoreError, OSError):
                self.read()
