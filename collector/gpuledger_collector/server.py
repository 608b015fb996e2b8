"""The gRPC side: the service that agents call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import grpc

from gpuledger_collector.access import Access, Context
from gpuledger_collector.admission import Admission
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.session import Session
from gpuledger_proto.v1 import telemetry_pb2 as wire


class TelemetryService:
    """Serves `gpuledger.v1.Telemetry`. Messages come in as bytes, and stay so until written.

    No stream lasts for longer than `stream_s`.
    """

    def __init__(
        self, admission: Admission, metrics: Metrics, access: Access, stream_s: float
    ) -> None:
        self._admission = admission
        self._metrics = metrics
        self._access = access
        self._stream_s = stream_s
        self._sessions: set[Session] = set()
        self._draining = False
        self._none_left = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given to serve it."""
        service = wire.DESCRIPTOR.services_by_name["Telemetry"].full_name
        stream: grpc.RpcMethodHandler[bytes, wire.CollectorMessage]
        stream = grpc.stream_stream_rpc_method_handler(
            self.stream, None, wire.CollectorMessage.SerializeToString
        )
        return grpc.method_handlers_generic_handler(service, {"Stream": stream})

    async def stream(self, messages: AsyncIterator[bytes], context: Context) -> None:
        """One agent, until it leaves."""
        session = Session(self._admission, self._metrics, self._access, context)
        self._sessions.add(session)
        if self._draining:
            session.stop()
        # Not all that came at once shall come again at once.
        age_s = random.uniform(0.8, 1.0) * self._stream_s  # noqa: S311  # no secret
        renewal = asyncio.get_running_loop().call_later(age_s, session.renew)
        try:
            with self._metrics.agents.track_inprogress():
                await session.run(messages)
        finally:
            renewal.cancel()
            self._sessions.discard(session)
            if not self._sessions:
                self._none_left.set()

    async def drain(self) -> None:
        """Read no more; return when every stream has had its answers and was ended."""
        self._draining = True
        for session in self._sessions:
            session.stop()
        if self._sessions:
            await self._none_left.wait()
