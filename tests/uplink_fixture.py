"""An agent's uplink, and a collector for it that a test scripts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gpuledger_agent import dial, stream
from gpuledger_agent.dial import Dialer
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.scripted_collector import ScriptedCollector

Start = Callable[..., Uplink]

ROWS = 3


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that do not pause before they try again."""
    monkeypatch.setattr(stream, "BACKOFF_MAX_S", 0.01)


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that look at their files all the time."""
    monkeypatch.setattr(dial, "LOOK_S", 0.0)
    monkeypatch.setattr(stream, "CHECK_S", 0.02)


@pytest.fixture
def scripted() -> Iterator[ScriptedCollector]:
    with ScriptedCollector() as listening:
        yield listening


@contextmanager
def uplink_to(
    spool: Spool,
    *addresses: str,
    hello: Callable[[], wire.Hello] = lambda: wire.Hello(host="h1"),
    dialer: Dialer | None = None,
) -> Iterator[Uplink]:
    """An uplink that runs while this is entered, and ends when it is told to."""
    uplink = Uplink(addresses, spool, hello, dialer)
    thread = threading.Thread(target=uplink.run)
    thread.start()
    try:
        yield uplink
    finally:
        uplink.stop()
        thread.join(20)
        assert not thread.is_alive(), "the uplink did not end when it was told to"


@pytest.fixture
def start(spool: Spool, eager: None) -> Iterator[Start]:  # noqa: ARG001  # for its effect
    """Starts an uplink to these addresses; it is ended with the test."""
    with ExitStack() as running:
        yield lambda *addresses, **more: running.enter_context(uplink_to(spool, *addresses, **more))


def fill(spool: Spool, count: int) -> None:
    """Append so many batches of ROWS rows."""
    batch = wire.Batch(dictionary=[""])
    batch.gpu_usage.window_start.extend([0] * ROWS)
    spool.append([batch] * count, 0)


def waiting(spool: Spool) -> list[int]:
    return [batch.sequence for batch in spool.after(0, 1000)]


def free_port() -> str:
    """An address on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"
