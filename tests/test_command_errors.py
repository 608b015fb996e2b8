"""What `gpuledger` says when it cannot do as told: one line, and an exit code that means it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpuledger_collector.store.embedded import EmbeddedServer

GPULEDGER = str(Path(sys.executable).parent / "gpuledger")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GPULEDGER, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "arguments", [("query", "SELECT 1"), ("migrate",), ("serve",), ("migrate", "--status")]
)
def test_command_when_no_clickhouse_answers_then_one_short_line_says_so(
    arguments: tuple[str, ...],
) -> None:
    done = run(*arguments, "--clickhouse-url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "gpuledger: http://127.0.0.1:1: Connection refused;"
        " is it ClickHouse's HTTP port, and is it up?\n"
    )


def test_command_when_clickhouse_itself_refuses_then_no_network_is_suspected(
    clickhouse_server: EmbeddedServer,
) -> None:
    done = run("query", "--clickhouse-url", clickhouse_server.url, "--database", "nix", "SELECT 1")
    assert done.returncode == 1
    assert "Database nix does not exist" in done.stderr
    assert "is it up" not in done.stderr
