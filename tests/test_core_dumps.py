"""What is in a daemon's memory is in no file after it has crashed; its log says where it was."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from gpuledger_collector.store.client import StoreConfig
from tests.nvml_standin.world import Standin
from tests.test_agent_daemon import AGENT
from tests.uplink_fixture import free_port
from tests.waiting import wait_until

ALLOWED = ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh"]


def left_by(command: list[str], env: dict[str, str], home: Path, begun: str) -> list[str]:
    """Cores in `home` of a daemon that began there, said `begun`, and was ended by SIGSEGV."""
    home.mkdir()
    log = home / "log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [*ALLOWED, *command], env=env, cwd=home, stderr=said, stdout=said
        )
    try:
        wait_until(lambda: begun in log.read_text())
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        process.send_signal(signal.SIGSEGV)
        assert process.wait(timeout=40) == -signal.SIGSEGV
    finally:
        process.kill()
        process.wait()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]
    assert "Fatal Python error: Segmentation fault" in log.read_text()
    assert log.read_text().count("Thread 0x") > 1
    return [path.name for path in home.iterdir() if path.name.startswith("core")]


def test_agent_when_it_crashes_then_it_leaves_no_core_but_says_where_it_was(
    standin: Standin, tmp_path: Path
) -> None:
    env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
    command = [str(AGENT), "run", "--collector", free_port(), "--metrics", "",
               "--health", "", "--spool", str(tmp_path / "spool.sqlite")]  # fmt: skip
    # Said by another thread than the one that takes the signal.
    assert left_by(command, env, tmp_path / "home", "event=driver_open") == []


def test_collector_when_it_crashes_then_it_leaves_no_core_but_says_where_it_was(
    database: StoreConfig, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(database.password)
    command = [str(AGENT.with_name("gpuledger")), "serve", "--clickhouse-url", database.url,
               "--database", database.database, "--username", database.username,
               "--password-file", str(password), "--listen", "127.0.0.1:0",
               "--metrics", ""]  # fmt: skip
    assert left_by(command, dict(os.environ), tmp_path / "home", "event=serving") == []
