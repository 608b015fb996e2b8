"""A server that tells what vLLM tells, by the same library: `python lookalike.py PORT [child]`.

Names, labels and buckets are those of vllm/v1/metrics/loggers.py. Each time it is asked it has
served STEP requests more, of one second each. It writes its port on a line when it listens, and
the pid of its child if it has one: an engine, which listens on nothing.
"""

from __future__ import annotations

import subprocess
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

STEP = 10
PROMPT_TOKENS, GENERATED_TOKENS = 120, 40
LATENCY_S, TTFT_S = 1.0, 0.06
RUNNING, WAITING, KV_CACHE = 3, 1, 0.5
MODEL = "ranker"

TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
E2E_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
LABELS = ["model_name", "engine"]


class Lookalike:
    """The metrics of one engine."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = {"model_name": MODEL, "engine": "0"}
        known = {"labelnames": LABELS, "registry": self.registry}
        Gauge("vllm:num_requests_running", "running", **known).labels(**labels).set(RUNNING)
        Gauge("vllm:num_requests_waiting", "waiting", **known).labels(**labels).set(WAITING)
        Gauge("vllm:kv_cache_usage_perc", "KV cache", **known).labels(**labels).set(KV_CACHE)
        self._prompt = Counter("vllm:prompt_tokens", "read", **known).labels(**labels)
        self._generated = Counter("vllm:generation_tokens", "made", **known).labels(**labels)
        success = Counter(
            "vllm:request_success", "ended", [*LABELS, "finished_reason"], registry=self.registry
        )
        self._ended = {
            reason: success.labels(**labels, finished_reason=reason)
            for reason in ("stop", "length", "abort", "error")
        }
        self._ttft = Histogram(
            "vllm:time_to_first_token_seconds", "TTFT", buckets=TTFT_BUCKETS, **known
        ).labels(**labels)
        self._latency = Histogram(
            "vllm:e2e_request_latency_seconds", "latency", buckets=E2E_BUCKETS, **known
        ).labels(**labels)

    def serve(self, requests: int) -> None:
        """Have served so many more, the last of them in vain."""
        for number in range(requests):
            self._ended["error" if number == requests - 1 else "stop"].inc()
            self._prompt.inc(PROMPT_TOKENS)
            self._generated.inc(GENERATED_TOKENS)
            self._latency.observe(LATENCY_S)
            self._ttft.observe(TTFT_S)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are no events."""


def main() -> None:
    """Serve until killed."""
    engine = Lookalike()
    answer = make_wsgi_app(engine.registry)

    def asked(environ, start_response):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        engine.serve(STEP)
        return answer(environ, start_response)

    with make_server("", int(sys.argv[1]), asked, handler_class=_Quiet) as server:
        child = subprocess.Popen(["sleep", "1000"]) if sys.argv[2:] else None
        print(server.server_port, child.pid if child else "", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main()
