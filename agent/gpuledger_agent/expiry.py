"""Certificates in use that end: what the log says of them, and Prometheus."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily

from gpuledger_agent.pem import Dated
from gpuledger_agent.validity import DAY_S, Validity

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    validity: Validity
    over: bool
    at: float


class ExpiryWatch:
    """Logs it when a certificate is due to be replaced, and when it has ended; once a day each.

    `now`: UTC seconds since the epoch. Used by one thread.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._told: dict[str, _Told] = {}

    def look(self, dates: Iterable[Dated]) -> None:
        """Look at what is in use now. Neither waits nor raises."""
        now = self._now()
        for each in dates:
            if each.validity is not None and now >= each.validity.due:
                self._tell(each, each.validity, now)

    def _tell(self, each: Dated, validity: Validity, now: float) -> None:
        over = now >= validity.ends
        last = self._told.get(each.role)
        if last and (last.validity, last.over) == (validity, over) and abs(now - last.at) < DAY_S:
            return
        self._told[each.role] = _Told(validity, over, now)
        facts = (each.role, str(each.file), date(validity.ends))
        if over:
            log.error("event=certificate_expired role=%s file=%s ended=%s replace it", *facts)
        else:
            left = remaining(validity.ends - now)
            log.warning(
                "event=certificate_expires role=%s file=%s ends=%s left=%r replace it",
                *(*facts, left),
            )


def metrics(prefix: str, dates: Iterable[Dated]) -> Iterator[GaugeMetricFamily]:
    """When what is in use ends, and from when on it should have been replaced."""
    ends = GaugeMetricFamily(
        f"{prefix}_certificate_expiry_timestamp_seconds",
        "When the certificate or the last CA of its file ends",
        labels=["role"],
    )
    due = GaugeMetricFamily(
        f"{prefix}_certificate_renewal_timestamp_seconds",
        "From when on it should have been replaced",
        labels=["role"],
    )
    for each in dates:
        if each.validity is not None:
            ends.add_metric([each.role], each.validity.ends)
            due.add_metric([each.role], each.validity.due)
    yield from (ends, due)


def date(at: float) -> str:
    """A moment in UTC, to the minute, for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"


def remaining(seconds: float) -> str:
    """A time to come, for people."""
    for unit, length_s in (("days", DAY_S), ("hours", 3600.0)):
        if seconds >= 2 * length_s:
            return f"{int(seconds // length_s)} {unit}"
    return f"{int(seconds // 60)} minutes"
