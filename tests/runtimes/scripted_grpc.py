"""A gRPC server on a unix socket that answers as a test tells it: with any bytes, or not at all."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf.message import Message

HANGS = object()
"""No answer at all."""

DETAILS = "as the test\nasked " + "x" * 1_000
"""What a server says of its errors."""


class ScriptedServer(grpc.GenericRpcHandler):
    """Answers methods by their path, `/package.Service/Method`; others are UNIMPLEMENTED.

    An answer is a message, bytes that may be one, an error's code, HANGS, or a function that makes
    one of these of the question. `asked` counts the calls of each method. A context manager.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self._over = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.stop(0).wait()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """What gRPC asks for the handler of a method."""
        self.asked[call.method] += 1
        if call.method not in self.answers:
            return None

        def answered(question: bytes, context: grpc.ServicerContext) -> bytes:
            return self._bytes(self.answers[call.method], question, context)

        return grpc.unary_unary_rpc_method_handler(answered)

    def _bytes(self, answer: object, question: bytes, context: grpc.ServicerContext) -> bytes:
        match answer:
            case bytes():
                return answer
            case Message():
                return answer.SerializeToString()
            case grpc.StatusCode():
                context.abort(answer, DETAILS)
            case _ if answer is HANGS:
                self._over.wait()
                return b""
            case _ if callable(answer):
                return self._bytes(answer(question), question, context)
        raise AssertionError(answer)
