"""What reading inference servers costs the agent: `python -m bench.scrape_cost [WINDOWS]`.

16 servers with 500 series each, as vLLM names them, of which some 90 are wanted: a process that
answers at 16 ports, over real sockets. The agent's scraper reads them in windows of 10 s and looks
for new ones every 30 s, as on a host, in a process of its own; its CPU time and memory are compared
with the same process before the servers are told of. Peer: the same texts, fetched by urllib and
read whole by prometheus_client's parser.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from contextlib import ExitStack
from urllib.request import urlopen

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.report import report
from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.attribution.rules import Named
from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.encode import batches
from gpuledger_agent.records import Owner
from gpuledger_agent.serving import families
from gpuledger_agent.serving.scraper import Scraper
from gpuledger_agent.serving.subjects import Subject

SERVERS, SERIES, WINDOW_S = 16, 500, 10

SERVE = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from tests.serving.lookalike import Lookalike
from prometheus_client import generate_latest

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        engine.serve(1)
        body = generate_latest(engine.registry) + rest
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

engine = Lookalike()
series = [line for line in generate_latest(engine.registry).splitlines() if line[:1] != b"#"]
name = 'vllm:inter_token_latency_seconds_bucket{engine="0",le="%d",model_name="ranker"} 7\\n'
rest = "".join(name % n for n in range(int(sys.argv[2]) - len(series))).encode()
servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(int(sys.argv[1]))]
print(*(server.server_port for server in servers), flush=True)
for server in servers:
    Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""


def main() -> None:
    """Measure and print."""
    windows = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    own = psutil.Process()
    with ExitStack() as stack:
        serving = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", SERVE, str(SERVERS), str(SERIES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(serving.kill)
        ports = [int(port) for port in (serving.stdout or sys.stdin).readline().split()]
        scraper = Scraper(families.load(), SteadyClock(), WINDOW_S)
        scraper.start()
        stack.callback(scraper.stop)
        gc.collect()
        before_mib = own.memory_info().rss / 2**20
        scraper.watch([_subject(serving.pid, port) for port in ports])
        while scraper.state.scrapes < SERVERS:
            time.sleep(0.5)
        cpu, scrapes = time.process_time(), scraper.state.scrapes
        time.sleep(WINDOW_S * windows)
        read = (scraper.state.scrapes - scrapes) / SERVERS
        rows = scraper.take()
        encoded = sum(batch.ByteSize() for batch in batches((), (), rows))
        ours_ms = 1_000 * (time.process_time() - cpu) / read
        after_mib = own.memory_info().rss / 2**20
        peer_ms = _peer(ports)
    report(
        f"{SERVERS} servers with {SERIES} series each, read once a window of {WINDOW_S} s",
        ("CPU milliseconds a window", ours_ms),
        ("CPU seconds an hour", ours_ms * 3.6 / WINDOW_S),
        ("added resident MiB", after_mib - before_mib),
        ("bytes of a row on the wire", encoded / max(len(rows), 1)),
        ("CPU milliseconds: urllib and prometheus_client, all series", peer_ms),
        ("ratio of CPU to theirs", ours_ms / peer_ms),
    )


def _subject(pid: int, port: int) -> Subject:
    said = Named(str(port), "bench", "environment", f"port {port}")
    return Subject(Kind.CONTAINER, f"ranker-{port}", Owner(team="search"), said, pid)


def _peer(ports: list[int]) -> float:
    rounds = 3
    cpu = time.process_time()
    for _ in range(rounds):
        for port in ports:
            with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
                text = response.read().decode()
            seen = sum(len(family.samples) for family in text_string_to_metric_families(text))
            if seen != SERIES:
                sys.exit(f"a server has {seen} series")
    return 1_000 * (time.process_time() - cpu) / rounds


if __name__ == "__main__":
    main()
