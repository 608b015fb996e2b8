"""Starts the embedded ClickHouse again when it ends, or listens no more, without us."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from gpuledger_agent.log import Once
from gpuledger_agent.vital_thread import VitalThread
from gpuledger_collector.store.client import StoreError
from gpuledger_collector.store.embedded import EmbeddedServer

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often it is looked at."""


class Keeper:
    """Looks after a server that was started, as a context; leaving it ends that, not the server.

    What ends it is mostly the kernel, short of memory; what it acknowledged is on disk.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._once = Once(log)
        self._left = threading.Event()
        self.thread = VitalThread("store-keeper", self._run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self.thread.join()

    def _run(self) -> None:
        while not self._left.wait(LOOK_S):
            if not self._server.listens:
                self._start_again()

    def _start_again(self) -> None:
        if self._server.alive:
            self._once.warning("ended", "event=store_listens_no_more somebody told it so by SQL")
        else:
            self._once.warning("ended", "event=store_ended exit_code=%s", self._server.exit_code)
        try:
            self._server.restart()
        except StoreError as error:
            self._once.warning("failed", "event=store_not_started reason=%r", str(error))
            return
        self._once.over("failed", "event=store_starts_again")
        self._once.over("ended", "event=store_started url=%s", self._server.url)
