"""What ClickHouse refuses to compute is left alone for a while, so that the rest goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.store.client import answered, one_line

log = logging.getLogger(__name__)

PUT_OFF_S = 300.0
"""So long; it may be short of memory, or hold what a statement cannot bear."""


class PutOff:
    """Hours or days, by name. Used by one thread.

    `refused` is called each time one is put off.
    """

    def __init__(self, refused: Callable[[], object]) -> None:
        self._refused = refused
        self._until: dict[str, float] = {}

    def names(self) -> list[str]:
        """Those to be left alone now."""
        now = time.monotonic()
        return [name for name, until in self._until.items() if until > now]

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Put it off if ClickHouse answers with an error. One that is away is the caller's."""
        try:
            yield
        except ClickHouseError as error:
            if not answered(error):
                raise
            self._refused()
            if name not in self._until:
                text = "event=rollup_refused of=%r error=%r it is tried again, others go on"
                log.warning(text, name, one_line(error))
            self._until[name] = time.monotonic() + PUT_OFF_S
        else:
            if self._until.pop(name, None) is not None:
                log.info("event=rollup_taken of=%r", name)
