"""A gRPC server on a unix socket that answers as a test tells it: with any bytes, or not at all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import grpc
from google.protobuf.message import Message

Answer = Message | bytes | grpc.StatusCode | Callable[[bytes], "Answer"]
"""A message, what may be one, an error, or what makes one of these of the question."""

HANGS = object()


class ScriptedServer(grpc.GenericRpcHandler):
    """Answers methods by their path, `/package.Service/Method`; others are UNIMPLEMENTED.

    `asked` counts the calls of each method. A context manager.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, Answer | object] = {}
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
        if call.method not in self.answers:
            return None
        self.asked[call.method] += 1

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
                context.abort(answer, "as the test\nasked")
            case _ if answer is HANGS:
                self._over.wait()
                return b""
            case _ if callable(answer):
                return self._bytes(answer(question), question, context)
        raise AssertionError(answer)
