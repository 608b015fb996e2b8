"""The processes of a run: started, killed, paused, and started again as an init would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gpuledger_collector.store import owner
from gpuledger_collector.store.client import StoreConfig, StoreError
from gpuledger_collector.store.embedded import EmbeddedServer

RESTART_S = 0.5
"""After so long an init starts again what ended by itself."""

END_S = 45.0
"""Within this a process must have ended after SIGTERM; systemd's limit is 90 s."""


class NotNow(Exception):  # noqa: N818  # the fault has nothing to strike at present
    """The process does not run, or is being ended already."""


class Managed:
    """A process that should always run. `command` is asked at every start.

    `refusals` are exit codes by which it may decline to start, as long as its surroundings are
    down. Whatever else it does of its own accord is remembered in `surprises`.
    """

    def __init__(
        self, name: str, command: Callable[[], list[str]], log: Path, refusals: frozenset[int]
    ) -> None:
        self.name = name
        self.starts = 0
        self.refused = 0
        self.surprises: list[str] = []
        self._command = command
        self._log = log
        self._refusals = refusals
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._not_before = 0.0
        self._end_by: float | None = None
        self._down_s = RESTART_S

    def start(self) -> None:
        """Start, and from now on whenever it has ended."""
        self._wanted = True
        self.look(time.monotonic())

    def kill(self, down_s: float) -> None:
        """kill -9; it is started again after `down_s`. Raises NotNow."""
        process = self._running()
        process.kill()
        process.wait()
        self._gone(down_s)

    def terminate(self, down_s: float) -> None:
        """SIGTERM; once it has ended it is started again after `down_s`. Raises NotNow."""
        self._running().terminate()
        self._end_by = time.monotonic() + END_S
        self._down_s = down_s

    def pause(self) -> Callable[[], None]:
        """SIGSTOP; what is returned lets it go on. Raises NotNow."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        return lambda: process.send_signal(signal.SIGCONT)

    def look(self, now: float) -> None:
        """Do what an init does."""
        process = self._process
        if process is None:
            if self._wanted and now >= self._not_before:
                self._start()
        elif process.poll() is not None:
            self._judge(process.returncode, asked=self._end_by is not None)
            self._gone(self._down_s)
        elif self._end_by is not None and now > self._end_by:
            self.surprises.append(f"{self.name} did not end within {END_S:.0f} s of SIGTERM")
            process.send_signal(signal.SIGABRT)  # then its log says where it was
            self._end_by = now + END_S

    def end(self) -> None:
        """SIGTERM, and it is not started again; `ended` says when that is done."""
        self._wanted = False
        if self._process is not None and self._end_by is None:
            self.terminate(0.0)

    def destroy(self) -> None:
        """kill -9, whatever it is doing, and it is not started again."""
        self._wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def ended(self) -> bool:
        """Whether it does not run."""
        return self._process is None

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is None or process.poll() is not None or self._end_by is not None:
            raise NotNow
        return process

    def _start(self) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)

    def _gone(self, down_s: float) -> None:
        self._process, self._end_by, self._down_s = None, None, RESTART_S
        self._not_before = time.monotonic() + down_s

    def _judge(self, code: int, *, asked: bool) -> None:
        if asked and code in {0, -signal.SIGTERM}:  # the latter before it had begun
            return
        if code in self._refusals:
            self.refused += 1
        else:
            self.surprises.append(f"{self.name} ended with {code}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return lines[-1][:300] if lines else ""

    def tracebacks(self) -> list[str]:
        """What the process did not foresee: the last line of every traceback in its log."""
        text = self._log.read_text("utf-8", "replace") if self._log.exists() else ""
        found = re.findall(
            r"Traceback .*?\n(?=\S)(?!Traceback|During|The above)(.*)", text, re.DOTALL
        )
        return [f"{self.name}: {each.splitlines()[0][:300]}" for each in found]


class Store:
    """ClickHouse on one data directory, killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedServer(directory)
        self.password_file = directory / "password"
        self._starting: threading.Thread | None = None
        self.surprises: list[str] = []
        self.starts = 0

    @property
    def url(self) -> str:
        """Where it answers; the same after every start."""
        return self._server.url

    @property
    def books(self) -> StoreConfig:
        """The books in it, as their owner, whether or not it runs."""
        return StoreConfig(
            self.url, username=owner.USER, password=self.password_file.read_text().strip()
        )

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.starts += 1
        try:
            self._server.start()
        except StoreError as error:
            self.surprises.append(str(error))

    def kill(self) -> Callable[[], None]:
        """kill -9; what is returned starts it again, in a thread. Raises NotNow."""
        os.kill(self._pid(), signal.SIGKILL)
        self._server.stop()
        return self._start_in_thread

    def pause(self) -> Callable[[], None]:
        """SIGSTOP; what is returned lets it go on. Raises NotNow."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        return lambda: self._go_on(pid)

    def ready(self) -> None:
        """Wait for a start that is under way."""
        if self._starting is not None:
            self._starting.join()

    def stop(self) -> None:
        """End for good."""
        self.ready()
        self._server.stop()

    def _pid(self) -> int:
        starting = self._starting is not None and self._starting.is_alive()
        if starting or not self._server.alive:
            raise NotNow
        return self._server.pid

    def _go_on(self, pid: int) -> None:
        if self._server.pid == pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _start_in_thread(self) -> None:
        self._starting = threading.Thread(target=self.start, name="store")
        self._starting.start()
