"""A TCP proxy that can be told to be a bad network, for gRPC and HTTP alike."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

HOST = "127.0.0.1"
CHUNK = 1 << 16
CHUNK_THROTTLED = 1 << 10
LOOK_S = 0.02
"""How often a connection in a black hole looks whether it is over."""

_ROWS = b" FORMAT Native\n"
"""So ends an INSERT whose rows follow; a roll-up's INSERT ... SELECT brings none."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection whose end is a reset, whatever is on its way."""


@dataclass(slots=True)
class Weather:
    """How a proxy treats what passes. Set by any thread, heeded at once.

    `delay_s` holds every piece back, `bytes_per_s` is the most that passes a second, `hole` lets
    nothing through and says nothing, `mute` swallows all answers. The next `swallow` answers to
    INSERTs that bring rows are not passed on: the connection is reset when they begin, after the
    commit.
    """

    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    hole: bool = False
    mute: bool = False
    swallow: int = 0


@dataclass(eq=False)
class _Link:
    """One connection: the client's side and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    inserts: bool = False
    tail: bytes = b""

    def asks(self, data: bytes) -> None:
        """Look for an INSERT of rows in what the client sends; it may lie across two pieces."""
        self.inserts |= _ROWS in self.tail + data
        self.tail = data[-len(_ROWS) :]

    def abort(self) -> None:
        """End both sides with a reset."""
        for side in (self.client, self.server):
            if side is not None:
                peer = side.get_extra_info("socket")
                if peer is not None and peer.fileno() >= 0:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.transport.abort()


class Network:
    """The event loop that all proxies of a run share, in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._servers: list[asyncio.Server] = []

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run this in the loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def closes(self, server: asyncio.Server) -> None:
        """Close this with the network."""
        self._servers.append(server)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(eq=False)
class Proxy:
    """Listens on a port of loopback and forwards to `upstream` (HOST:PORT), which may change."""

    network: Network
    upstream: str
    weather: Weather = field(default_factory=Weather)
    port: int = 0
    swallowed: int = 0
    """Answers to INSERTs that were not passed on."""
    in_mid_insert: Callable[[], None] | None = None
    """Called once, when half a piece of an INSERT has been passed on; then the connection ends."""
    _links: set[_Link] = field(default_factory=set)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The same for HTTP."""
        return f"http://{self.address}"

    def start(self) -> None:
        """Listen."""
        self.network.do(self._listen())

    def cut(self) -> int:
        """Reset every connection; return how many there were."""
        return int(self.network.do(self._cut()))

    def clear(self) -> None:
        """Be a good network again."""
        self.weather = Weather(swallow=self.weather.swallow)

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, self.port)
        self.network.closes(server)
        self.port = server.sockets[0].getsockname()[1]

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.abort()
        return len(links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._wait_out_hole()
            host, port = self.upstream.rsplit(":", 1)
            answers, link.server = await asyncio.open_connection(host, int(port))
            await self._forward(link, reader, answers)
        except (OSError, EOFError):
            pass
        finally:
            self._links.discard(link)
            link.abort()

    async def _forward(
        self, link: _Link, questions: asyncio.StreamReader, answers: asyncio.StreamReader
    ) -> None:
        """Pump both ways until either side ends."""
        pumps = [
            asyncio.create_task(self._ask(link, questions)),
            asyncio.create_task(self._answer(link, answers)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _ask(self, link: _Link, source: asyncio.StreamReader) -> None:
        assert link.server is not None
        while data := await source.read(self._piece()):
            await self._suffer(len(data))
            link.asks(data)
            if link.inserts and self.in_mid_insert is not None:
                self.in_mid_insert, act = None, self.in_mid_insert
                link.server.write(data[: len(data) // 2])
                await link.server.drain()
                act()
                return
            link.server.write(data)
            await link.server.drain()

    async def _answer(self, link: _Link, source: asyncio.StreamReader) -> None:
        while data := await source.read(self._piece()):
            await self._suffer(len(data))
            if self._swallows(link, data):
                return
            if not self.weather.mute:
                link.client.write(data)
                await link.client.drain()

    def _piece(self) -> int:
        return CHUNK_THROTTLED if self.weather.bytes_per_s else CHUNK

    def _swallows(self, link: _Link, data: bytes) -> bool:
        inserted, link.inserts = link.inserts and data.startswith(b"HTTP/1.1 200"), False
        if not inserted or not self.weather.swallow:
            return False
        self.weather.swallow -= 1
        self.swallowed += 1
        return True

    async def _suffer(self, size: int) -> None:
        await self._wait_out_hole()
        weather = self.weather
        rate = weather.bytes_per_s
        if weather.delay_s or rate:
            await asyncio.sleep(weather.delay_s + (size / rate if rate else 0.0))

    async def _wait_out_hole(self) -> None:
        while self.weather.hole:  # noqa: ASYNC110  # set by other threads
            await asyncio.sleep(LOOK_S)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy before this ClickHouse, in a network of its own."""
    with Network() as network:
        proxy = Proxy(network, urlsplit(url).netloc)
        proxy.start()
        yield proxy
