"""Which values of an owner's fields may stand in the books, whoever says them."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Mapping

from gpuledger_agent.attribution.cardinality import Cardinality
from gpuledger_agent.attribution.labels import LabelError, clean
from gpuledger_agent.attribution.rules import FIELDS, METRICS, Named, Rules
from gpuledger_agent.log import Once
from gpuledger_agent.records import Owner

log = logging.getLogger(__name__)

UNATTRIBUTED = "unattributed"

LINES = 60
"""Refusals that are logged in an hour; all are counted."""


class Admission:
    """Takes values that print and are not too many. Used by one thread.

    `refused` counts those that cannot stand in the books. What the operator wrote, into rules or as
    the `static` owner, is taken however many values strangers have made up.
    """

    def __init__(self, rules: Rules, static: Owner) -> None:
        self._cardinality = Cardinality()
        self._ours = rules.own_values() | {(fact, getattr(static, fact)) for fact in FIELDS}
        self._once = Once(log)
        self._hour = self._lines = 0
        self.refused = 0

    @property
    def excess(self) -> int:
        """Values that could have stood there, but for the limit of distinct ones."""
        return self._cardinality.refused

    def accept(self, fact: str, value: str, whose: str) -> str | None:
        """The value as it goes into the books, None if it cannot.

        `whose` value it is, a workload's or a user's, says against whom it counts.
        """
        try:
            text = clean(value)
            if fact == "team" and text.casefold() == UNATTRIBUTED:
                raise LabelError("is what the books call nobody")
        except LabelError as error:
            self.refused += 1
            self._warn(
                ("label", fact, whose),
                "event=label_refused field=%s whose=%r reason=%r",
                *(fact, whose, str(error)),
            )
            return None
        if not text or fact == METRICS or self._admit(fact, text, whose):
            return text or None
        self._warn(
            ("excess", fact, whose),
            "event=labels_excess field=%s whose=%r its new values are booked as not named",
            *(fact, whose),
        )
        return None

    def still_used(self, named: Mapping[str, Named], whose: str) -> None:
        """Keep the place of values that are in use."""
        for fact, one in named.items():
            self._admit(fact, one.value, whose)

    def _warn(self, fault: Hashable, message: str, *args: str) -> None:
        hour = int(time.monotonic() // 3600)
        if hour != self._hour:
            self._hour, self._lines = hour, 0
        if self._lines < LINES:
            self._lines += self._once.warning(fault, message, *args)

    def _admit(self, fact: str, value: str, whose: str) -> bool:
        return (fact, value) in self._ours or self._cardinality.admit(
            fact, value, time.monotonic(), whose
        )
