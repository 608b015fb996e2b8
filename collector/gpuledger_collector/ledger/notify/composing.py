"""Messages made of notices, as the rate limit allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gpuledger_collector.ledger.notify.notice import Notice, message_id

MAX_JOINED = 100
"""Notices in one message; what is left over is in the next."""


class Bucket:
    """A token bucket: `burst` messages at once, then `per_minute`. Times by one clock, in UTC."""

    def __init__(self, burst: int, per_minute: float, at: datetime) -> None:
        self._burst = burst
        self._per_s = per_minute / 60
        self._level = float(burst)
        self._at = at

    def room(self, at: datetime) -> int:
        """How many messages may go now."""
        passed = max((at - self._at).total_seconds(), 0.0)
        self._level = min(self._level + passed * self._per_s, self._burst)
        self._at = max(at, self._at)
        # Twelve times 5 s at one a minute are one message, whatever floats say.
        return max(int(self._level + 1e-6), 0)

    def take(self, at: datetime) -> None:
        """Count a message that went."""
        self.room(at)
        self._level -= 1


@dataclass(frozen=True, slots=True)
class Message:
    """Notices that are told together, the oldest first. Its id is the same in every attempt.

    `known`: the notices already were part of it.
    """

    id: str
    notices: tuple[Notice, ...]
    known: bool = False

    @property
    def joined(self) -> bool:
        """Whether it tells more than one."""
        return len(self.notices) > 1


def compose(waiting: Sequence[Notice], room: int, *, always_join: bool) -> list[Message]:
    """Messages that may go now, at most `room`, in order. What finds no room of its own is joined.

    Notices that already are part of a message stay together, so that an attempt whose answer was
    lost is repeated as it was.
    """
    composed = [
        _message(group) for group in _grouped((n for n in waiting if n.message), _message_of)
    ]
    fresh = [notice for notice in waiting if not notice.message]
    groups = [fresh] if always_join and fresh else list(_grouped(fresh, _joined_with))
    left = room - len(composed)
    if len(groups) > left > 0:
        rest = [notice for group in groups[left - 1 :] for notice in group]
        groups = [*groups[: left - 1], rest]
    parts = [
        group[i : i + MAX_JOINED] for group in groups for i in range(0, len(group), MAX_JOINED)
    ]
    return [*composed, *map(_message, parts)][: max(room, 0)]


def _message(notices: Sequence[Notice]) -> Message:
    if name := notices[0].message:
        return Message(name, tuple(notices), known=True)
    name = notices[0].id if len(notices) == 1 else message_id([n.id for n in notices])
    return Message(name, tuple(replace(notice, message=name) for notice in notices))


def _message_of(notice: Notice) -> str:
    return notice.message


def _joined_with(notice: Notice) -> str:
    return notice.join_key or notice.id


def _grouped(notices: Iterable[Notice], key: Callable[[Notice], str]) -> Iterable[list[Notice]]:
    groups: dict[str, list[Notice]] = {}
    for notice in notices:
        groups.setdefault(key(notice), []).append(notice)
    return groups.values()
