"""What all agents together may have in memory here, and whose turn it is to be written.

Nothing is dropped to make room: a stream that has its part is not read on, flow control stops the
agent, and its windows stay on its own disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gpuledger_collector.metrics import Metrics
from gpuledger_collector.packing import Message, Verdict

PENDING_MIB = 64
"""Some writes' worth: more in memory would only make what is live wait longer."""

ENTRY_BYTES = 512
"""What keeping a message costs beside its bytes."""

STREAM_PART = 8
"""A stream may have one part in so many of the memory that is free. A lone one has much, of
thousands each has as much as the others, and one that has nothing here yet always finds room
(dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6 (2), 1998)."""

FIRST_CREDIT = 8
MAX_CREDIT = 64
"""Batches of one stream that may be unanswered: to begin with, and ever."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A message as it was received, until it is committed. `answer` is told what came of it."""

    lane: Lane
    message: Message
    answer: Callable[[Verdict], None]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.message.body) + ENTRY_BYTES


class Lane:
    """What one stream has here. Made by `Admission.join`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.queue: deque[Pending] = deque()
        self.held = 0

    @property
    def has_room(self) -> bool:
        """Whether the stream may be read on."""
        return self._admission.has_room(self)

    async def room(self) -> None:
        """Wait until it may."""
        await self._admission.room(self)

    def put(self, message: Message, answer: Callable[[Verdict], None]) -> None:
        """Take over a message that was read."""
        self._admission.put(Pending(self, message, answer))

    def leave(self) -> None:
        """The stream is over: forget what is not being written, since the agent sends it again."""
        self._admission.leave(self)


class Admission:
    """One for all streams of a collector. Used in the event loop alone.

    Beyond `limit_bytes` there can only be what was being received when they filled: a message of
    each stream at most.
    """

    def __init__(self, metrics: Metrics, limit_bytes: int = PENDING_MIB << 20) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._queued = 0
        self._turns: deque[Lane] = deque()
        self._held_back: dict[Lane, asyncio.Event] = {}
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._enough_bytes = 0
        metrics.pending_limit_bytes.set(limit_bytes)
        metrics.pending_bytes.set_function(lambda: self._held)
        metrics.agents_held_back.set_function(lambda: len(self._held_back))

    def join(self) -> Lane:
        """A lane for a new stream."""
        return Lane(self)

    @property
    def fill(self) -> float:
        """How much of the memory is taken, 1 being all."""
        return self._held / self._limit

    async def room(self, lane: Lane) -> None:
        """See `Lane.room`."""
        while not self.has_room(lane):
            event = self._held_back[lane] = asyncio.Event()
            try:
                await event.wait()
            finally:
                del self._held_back[lane]

    def put(self, pending: Pending) -> None:
        """See `Lane.put`."""
        lane = pending.lane
        if not lane.queue:
            self._turns.append(lane)
        lane.queue.append(pending)
        lane.held += pending.size
        self._held += pending.size
        self._queued += pending.size
        self._some.set()
        if self._queued >= self._enough_bytes:
            self._enough.set()

    def leave(self, lane: Lane) -> None:
        """See `Lane.leave`."""
        if lane.queue:
            self._turns.remove(lane)
            self._queued -= sum(pending.size for pending in lane.queue)
            self.release(lane.queue)
            lane.queue.clear()

    async def gather(self, enough_bytes: int, wait_s: float) -> None:
        """Wait for a message, and then for others: until they are enough, or for so long."""
        self._enough_bytes = enough_bytes
        while not self._queued:
            self._some.clear()
            await self._some.wait()
        if self._queued < enough_bytes:
            self._enough.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._enough.wait()
            except TimeoutError:
                return

    def take(self, limit_bytes: int) -> list[Pending]:
        """What to write next, a message of each stream in turn. It is held until released."""
        taken: list[Pending] = []
        size = 0
        while self._turns and size < limit_bytes:
            lane = self._turns.popleft()
            pending = lane.queue.popleft()
            if lane.queue:
                self._turns.append(lane)
            taken.append(pending)
            size += pending.size
        self._queued -= size
        return taken

    def release(self, done: Iterable[Pending]) -> None:
        """Let go of these, and read on where there is room now."""
        for pending in done:
            pending.lane.held -= pending.size
            self._held -= pending.size
        for lane, event in self._held_back.items():
            if self.has_room(lane):
                event.set()

    def has_room(self, lane: Lane) -> bool:
        """See `Lane.has_room`."""
        return lane.held * STREAM_PART < self._limit - self._held


def next_credit(credit: int, used: int, fill: float) -> int:
    """How many batches a stream may leave unanswered from now on.

    `used` is how many it had unanswered just now, `fill` how much of the memory is taken. A
    stream that makes use of its credit gets more while there is plenty; one that does not, gives
    it up; and all give way when memory is short. So what is on its way from thousands of agents
    is little, and what an agent sends last does not wait long behind the rest.
    """
    if fill > 0.5 or used <= credit // 4:
        return max(credit // 2, 1)
    if fill < 0.25 and used >= credit:
        return min(credit * 2, MAX_CREDIT)
    return credit
