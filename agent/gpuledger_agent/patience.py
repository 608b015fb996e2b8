"""Calls that may never return, made where they cost no more than a moment and a label."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

WAIT_S = 0.25
"""How long a call may take."""

MAX_STUCK = 32
"""Calls that may be under way past their time; each keeps a thread."""


class StuckError(Exception):
    """A call that did not return in time, or one like it that has not returned yet."""

    def __init__(self) -> None:
        super().__init__(f"took longer than {WAIT_S:g} seconds")


class Patience:
    """Makes calls in threads of their own. Used by several threads.

    Calls of one `key` share its fate: while one has not returned, the others are not made. So
    nobody can spend the time and the threads that are there for all.
    """

    def __init__(self) -> None:
        self._stuck: dict[Hashable, threading.Thread] = {}

    def stuck(self, key: Hashable) -> bool:
        """Whether a call of this key has not returned yet, past its time."""
        thread = self._stuck.get(key)
        return thread is not None and thread.is_alive()

    def ask(self, key: Hashable, call: Callable[[], T]) -> T:
        """What the call returns or raises. Raises StuckError after WAIT_S, or at once."""
        if self.stuck(key) or self._full():
            raise StuckError
        answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

        def work() -> None:
            try:
                answers.put((call(), None))
            except Exception as error:  # noqa: BLE001  # raised again, where it is asked for
                answers.put((None, error))

        thread = threading.Thread(target=work, name="patience", daemon=True)
        thread.start()
        try:
            answer, error = answers.get(timeout=WAIT_S)
        except Empty:
            self._stuck[key] = thread
            raise StuckError from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]  # None only if that is what the call returns

    def _full(self) -> bool:
        if len(self._stuck) < MAX_STUCK:
            return False
        for key, thread in list(self._stuck.items()):
            if not thread.is_alive():
                self._stuck.pop(key, None)
        return len(self._stuck) >= MAX_STUCK
