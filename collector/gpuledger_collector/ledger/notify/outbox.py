"""Notices in ClickHouse: what was told survives whoever told it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.notify.notice import Finding, Notice
from gpuledger_collector.ledger.notify.planning import Told

_NAMES = [field.name for field in fields(Notice)]
_NOTICE = ", ".join(_NAMES)
_FINDING = ", ".join(field.name for field in fields(Finding))

_STANDING = f"""
SELECT {_NOTICE}, heard
FROM
(
    SELECT
        {_NOTICE},
        max(state != 'failed') OVER (PARTITION BY receiver, finding, first_seen) AS heard
    FROM notification_versions FINAL
    ORDER BY number DESC
    LIMIT 1 BY receiver, finding, first_seen
)
WHERE change != 'resolved'
ORDER BY receiver, finding, first_seen
"""  # noqa: S608 - names of fields

_FOUND = f"""
SELECT {_FINDING}
FROM findings
WHERE state = 'open' OR (id, first_seen) IN
(
    SELECT finding, first_seen
    FROM notification_versions FINAL
    GROUP BY receiver, finding, first_seen
    HAVING argMax(change, number) != 'resolved'
)
ORDER BY severity DESC, first_seen, id
"""  # noqa: S608 - names of fields

_WAITING = f"""
SELECT {_NOTICE}
FROM notification_versions FINAL
WHERE state = 'waiting'
ORDER BY noticed_at, first_seen, number, finding
"""  # noqa: S608 - names of fields

_SENT = """
SELECT receiver, max(n.said_at) AS at
FROM notification_versions AS n FINAL
WHERE state = 'sent' AND n.said_at > {since:DateTime64(6, 'UTC')}
GROUP BY receiver, message
ORDER BY at
"""


class Outbox:
    """Over one connection; used by one thread at a time. Everything raises ClickHouseError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def now(self) -> datetime:
        """The time that all collectors go by."""
        [(now,)] = self._rows("SELECT now64(6, 'UTC')")
        return now  # type: ignore[no-any-return]

    def standing(self) -> list[Told]:
        """What was told and has not ended."""
        return [Told(Notice(*row[:-1]), bool(row[-1])) for row in self._rows(_STANDING)]

    def found(self) -> list[Finding]:
        """Findings that are open, and those that were told; the most urgent first."""
        return [Finding(*row) for row in self._rows(_FOUND)]

    def waiting(self) -> dict[str, list[Notice]]:
        """What is to be sent to each receiver, in order."""
        waiting = defaultdict(list)
        for row in self._rows(_WAITING):
            waiting[row[0]].append(Notice(*row))
        return waiting

    def sent(self, since: datetime) -> list[tuple[str, datetime]]:
        """To whom a message went, and when."""
        return [(receiver, at) for receiver, at in self._rows(_SENT, since=since)]

    def save(self, notices: Iterable[Notice]) -> None:
        """Write notices as they are now, in one insert."""
        rows = [[getattr(notice, name) for name in _NAMES] for notice in notices]
        if rows:
            now = self.now()
            names = [*_NAMES, "said_at"]
            self._client.insert(
                "notification_versions", [[*row, now] for row in rows], column_names=names
            )

    def _rows(self, sql: str, **parameters: Any) -> Sequence[Any]:
        result = self._client.query(sql, parameters=parameters, query_tz="UTC", tz_mode="aware")
        return list(result.result_rows)
